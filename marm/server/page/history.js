/** What memory holds of a user: the rows, newest first, and how much room they take. */

import { bar, by, facts, head, make, sign } from "./dom.js";
import { bytes, features, moment, outcome, share, weight, whole } from "./format.js";

const STATES = {
  held: ["remembered", "What the layers made of it is remembered"],
  missing: ["missing", "Its states are gone; a learned fall-back stands in"],
  facts: ["facts", "So long ago that only facts are kept"],
  live: ["live", "Since the cut; run live for each answer"],
};
let shown = [];

/** Show a timeline answer. */
export function showHistory(found, limit) {
  const tasks = Object.keys(found.rows[0]?.outcomes ?? {});
  const names = [["When (UTC)"], ["Item"], ["What it is"], ["Attention", "num"], ...tasks.map((task) => [task, "mid"]), ["State"], ["Age", "num"]];
  shown = found.rows;
  by("rows").replaceChildren(caption(found), head(names), make("tbody", {}, ...found.rows.map((row) => line(row, tasks))));
  by("past-title").textContent = `History of user ${found.user}`;
  const events = found.memory.events + found.memory.tail;
  by("more").hidden = found.rows.length < limit || limit >= 1000 || found.rows.length >= events;
  showMemory(found);
}

function caption(found) {
  const text = found.rows.length ? "Newest first. Rows below the line are out of the window: no target sees them." : "No event before that time.";
  return make("caption", {}, found.degraded ? "The store cannot be read: only what came since the cut is shown." : text);
}

function line(row, tasks) {
  const [name, means] = STATES[row.state];
  return make("tr", { class: row.seen ? "" : "beyond" },
    make("td", { class: "time" }, make("time", { datetime: row.utc }, moment(row.utc))),
    make("th", { scope: "row", class: "id" }, row.item ?? "?"),
    make("td", { class: "what" }, features(row.features)),
    make("td", { class: "num heed" }),
    ...tasks.map((task) => make("td", { class: "mid" }, outcome(row.outcomes[task]))),
    make("td", {}, make("span", { class: `state ${row.state}`, title: means }, name)),
    make("td", { class: "num" }, row.age_steps === null ? sign("–", "none", "") : whole(row.age_steps)));
}

/** Beside each row, the mean weight that an explained item's heads put on it. */
export function markAttention(found) {
  const heads = found.layers.flatMap((layer) => layer.heads);
  const cells = [...by("rows").querySelectorAll("td.heed")];
  cells.forEach((cell) => cell.replaceChildren());
  if (!heads.length) return;
  const mean = found.rows.map((_, i) => heads.reduce((sum, one) => sum + one.weights[i], 0) / heads.length).reverse();
  const most = Math.max(...mean, 1e-9);
  const seen = cells.filter((_, i) => shown[i].seen);
  seen.forEach((cell, i) => mean[i] !== undefined && cell.append(bar(mean[i] / most), make("span", {}, weight(mean[i]))));
}

function showMemory({ memory, steps, cut }) {
  const ages = (depth) => depth.age_steps?.map(whole).join(" / ") ?? "–";
  const depths = memory.depths.map((depth) => make("tr", {},
    make("th", { scope: "row" }, depth.depth),
    ...[whole(depth.rows), whole(depth.missing), bytes(depth.bytes), ages(depth)].map((cell) => make("td", { class: "num" }, cell))));
  const names = [["Depth"], ["Rows", "num"], ["Missing", "num"], ["Size", "num"], ["Age", "num"]];
  const fill = make("span", { class: "fill" }, bar(memory.fill), share(memory.fill));
  const pairs = [["Size", bytes(memory.bytes)], ["Ring", fill], ["Events remembered", whole(memory.events)],
    ["Facts kept", whole(memory.facts)], ["Rows with room for states", whole(memory.capacity)],
    ["Window of a target", whole(memory.window)], ["Since the cut, live", whole(memory.tail)], ["Cut", `${cut}, at step ${whole(steps)}`]];
  const table = make("table", { class: "small" }, make("caption", {}, "Age: steps of learning since the newest, the median and the oldest row was made. Depth 0, the embedding, is made anew each time."), head(names), make("tbody", {}, ...depths));
  by("memory").replaceChildren(make("dl", { class: "facts" }, ...facts(pairs)), memory.depths.length ? make("div", { class: "scroll", role: "region", "aria-label": "Memory by depth", tabindex: "0" }, table) : "");
}
