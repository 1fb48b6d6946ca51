/** How the server does: looked at every few seconds while the page is visible. */

import { ask, Fault } from "./api.js";
import { by, facts, head, make } from "./dom.js";
import { bytes, ms, span, whole } from "./format.js";

const EVERY = 3000;

/** Look now, and go on looking. */
export async function watchStatus() {
  if (!document.hidden) await look();
  setTimeout(watchStatus, EVERY);
}

async function look() {
  try {
    show(await ask("/v1/status"));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    by("cut").textContent = "no answer";
    by("cut").classList.add("down");
  }
}

function show(found) {
  const { store, model } = found;
  by("cut").textContent = `cut ${found.cut}, ${store.state === "ready" ? "ready" : "the store cannot be read"}`;
  by("cut").classList.toggle("down", store.state !== "ready");
  const pairs = [["Up", span(found.uptime_s)], ["Cut", `${found.cut}, at step ${whole(found.steps)}`],
    ["Events in the log", whole(found.events)], ["Since the cut", whole(found.tail)], ["Waiting requests", whole(found.waiting)],
    ["Store", `${store.kind}, ${store.state}`], ["Memory", bytes(store.bytes)], ["Users", whole(store.users)],
    ["Rows with states", whole(store.rows)], ["Users at hand", `${whole(store.hot_users)} of ${whole(store.hot_slots)}`],
    ["Model", `${model.layers} layers, ${model.heads} heads, width ${model.width}, window ${whole(model.window)}`]];
  by("server").replaceChildren(...facts(pairs));
  showLatency(found.paths.filter((path) => path.path.startsWith("/v1/")));
}

function showLatency(paths) {
  const names = [["Endpoint"], ["Requests", "num"], ["Failed", "num"], ["p50 ms", "num"], ["p90 ms", "num"], ["p99 ms", "num"]];
  const lines = paths.map((path) => make("tr", {}, make("th", { scope: "row", class: "id" }, path.path),
    ...[whole(path.requests), whole(path.failed), ms(path.p50_ms), ms(path.p90_ms), ms(path.p99_ms)].map((cell) => make("td", { class: "num" }, cell))));
  const text = "Since the server started; percentiles of the last 1,000 requests of each, on this server.";
  by("latency").replaceChildren(make("caption", {}, text), head(names), make("tbody", {}, ...lines));
}
