/** The page: a user is picked, then history, recommendations and attention follow. */

import { ask, Fault } from "./api.js";
import { by } from "./dom.js";
import { showHistory, markAttention } from "./history.js";
import { showExplained, clearExplained } from "./explain.js";
import { showShown, markChosen } from "./shown.js";
import { watchStatus } from "./status.js";
import { pickFrom } from "./users.js";

const FIRST = 50;
const now = { user: null, limit: FIRST, turn: 0 };

/** Time as it was typed: a number where it reads as one, nothing where it is empty. */
function asOf() {
  const typed = by("at").value.trim();
  if (typed === "") return undefined;
  return Number.isFinite(Number(typed)) ? Number(typed) : typed;
}

function say(text) {
  by("said").textContent = text;
}

/** Do something that asks the server; only the newest of several counts, and what goes wrong is said. */
async function turn(work) {
  const mine = ++now.turn;
  const current = () => mine === now.turn;
  by("fault").hidden = true;
  document.body.classList.add("busy");
  try {
    await work(current);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (current()) showFault(error.message);
  } finally {
    if (current()) document.body.classList.remove("busy");
  }
}

function showFault(text) {
  by("fault").textContent = text;
  by("fault").hidden = false;
}

async function history(current) {
  const query = new URLSearchParams({ limit: now.limit });
  if (asOf() !== undefined) query.set("at", asOf());
  const found = await ask(`/v1/inspect/users/${encodeURIComponent(now.user)}?${query}`);
  if (!current()) return;
  showHistory(found, now.limit);
  by("welcome").hidden = true;
  by("past").hidden = false;
  by("recommend").disabled = false;
  const events = found.memory.events + found.memory.tail;
  say(events ? `User ${found.user}: ${found.rows.length} of ${events} events shown.` : `User ${found.user} has no history.`);
}

function choose(user) {
  now.user = user;
  now.limit = FIRST;
  by("answer").hidden = true;
  clearExplained();
  window.history.replaceState(null, "", `#user=${encodeURIComponent(user)}`);
  return turn(history);
}

function recommend() {
  return turn(async (current) => {
    await history(current);
    const found = await ask("/v1/recommend", { user: now.user, k: 20, at: asOf() });
    if (!current()) return;
    clearExplained();
    by("answer").hidden = false;
    showShown(found, explain);
    const last = found.trace.stages.at(-1);
    say(`${found.items.length} items to show, of ${found.trace.stages[0]?.taken ?? 0} candidates${last ? ` in ${found.trace.ms.toFixed(1)} ms` : ""}.`);
  });
}

function explain(item) {
  return turn(async (current) => {
    const found = await ask("/v1/explain", { user: now.user, item, at: asOf() });
    if (!current()) return;
    markChosen(item);
    const most = showExplained(found);
    markAttention(found);
    say(most);
  });
}

by("pick").addEventListener("submit", (event) => {
  event.preventDefault();
  if (now.user !== null) recommend();
});
by("at").addEventListener("change", () => now.user !== null && turn(history));
by("more").addEventListener("click", () => {
  now.limit = Math.min(1000, now.limit * 4);
  turn(history);
});
pickFrom(choose, showFault);
watchStatus();

const linked = new URLSearchParams(location.hash.slice(1)).get("user");
if (linked !== null) {
  by("user").value = linked;
  choose(linked);
}
