/** What each layer and head attends to when an item is scored: a strip over the history for each, and all of it as a table. */

import { by, facts, head, make } from "./dom.js";
import { features, moment, score, weight, worded } from "./format.js";
import { Strip } from "./strip.js";

let strips = [];

/** Nothing is explained. */
export function clearExplained() {
  strips = [];
  by("why-title").textContent = "Why";
  by("heeded").replaceChildren(make("p", { class: "quiet" }, "Choose an item to see what the layers attend to."));
}

/** Show an answer of /v1/explain; returns it in a sentence. */
export function showExplained(found) {
  strips = [];
  const what = features(found.features);
  by("why-title").textContent = `Why item ${found.item}${what ? ` (${what})` : ""}`;
  const predicted = [["score", score(found.score)], ...Object.entries(found.tasks).map(([task, value]) => [task, score(value)])];
  const parts = [make("dl", { class: "facts inline" }, ...facts(predicted))];
  if (found.degraded) parts.push(make("p", { class: "fault" }, "The store cannot be read: answered without all of the history."));
  if (!found.layers.length) parts.push(make("p", { class: "quiet" }, "This model has no layers: it looks at no history."));
  else if (!found.rows.length) parts.push(make("p", { class: "quiet" }, "No history yet: every head attends to the null row alone."));
  else parts.push(...attention(found));
  by("heeded").replaceChildren(...parts);
  strips.forEach((strip) => strip.draw());
  return sentence(found);
}

/** Heads by name, in order. */
const headsOf = (found) =>
  found.layers.flatMap((layer) => layer.heads.map((one, i) => ({ ...one, name: `${named(layer)}, head ${i + 1}` })));

const named = (layer) => `Layer ${layer.layer}${layer.task === null ? "" : ` for ${layer.task}`}`;

function attention(found) {
  const slider = make("input", { id: "row", type: "range", min: 0, max: found.rows.length - 1, step: 1 });
  const layers = found.layers.map((layer) => make("section", { class: "layer" },
    make("h3", {}, named(layer), make("span", { class: "quiet" }, ` reads ${layer.reads}`)),
    ...layer.heads.map((one, i) => strip(one, `${named(layer)}, head ${i + 1}`, i + 1, found, slider))));
  const readout = make("dl", { class: "readout", id: "readout" });
  const move = () => {
    strips.forEach((one) => one.mark(Number(slider.value)));
    readout.replaceChildren(...facts(rowSaid(found, Number(slider.value))));
    slider.setAttribute("aria-valuetext", spoken(found, Number(slider.value)));
  };
  slider.addEventListener("input", move);
  slider.value = String(mostHeeded(found));
  move();
  const axis = make("div", { class: "axis" }, make("span", {}, "oldest"), make("label", { for: "row" }, "row to read"), make("span", {}, "newest"));
  return [...layers, make("div", { class: "along" }, slider, axis), readout, asTable(found)];
}

function strip(one, name, number, found, slider) {
  const most = Math.max(...one.weights);
  const canvas = make("canvas", { role: "img", "aria-label": `${name}: most weight ${weight(most)} on item ${found.rows[one.weights.indexOf(most)].item}, null row ${weight(one.null)}` });
  const made = new Strip(canvas, one.weights, (at) => {
    slider.value = String(at);
    slider.dispatchEvent(new Event("input"));
  });
  strips.push(made);
  return make("div", { class: "strip" }, make("span", { class: "head" }, `head ${number}`), canvas,
    make("span", { class: "num" }, `max ${weight(most)}`), make("span", { class: "num quiet" }, `null ${weight(one.null)}`));
}

const outcomes = (row) => Object.entries(row.outcomes).map(([task, value]) => `${task} ${worded(value)}`).join(", ");

function rowSaid(found, at) {
  const row = found.rows[at];
  const what = features(row.features);
  const weights = found.layers.map((layer) => [`${named(layer)}, by head`, layer.heads.map((one) => weight(one.weights[at])).join("  ")]);
  return [["Row", `${at + 1} of ${found.rows.length}`], ["Item", `${row.item ?? "?"}${what ? `, ${what}` : ""}`], ["When", moment(row.utc)], ["Outcomes", outcomes(row) || "not kept"], ...weights];
}

function spoken(found, at) {
  return `${rowSaid(found, at).map(([term, value]) => `${term} ${value}`).join("; ")}`;
}

/** The row with the largest mean weight. */
function mostHeeded(found) {
  const sums = found.rows.map((_, i) => headsOf(found).reduce((sum, one) => sum + one.weights[i], 0));
  return sums.indexOf(Math.max(...sums));
}

function asTable(found) {
  const details = make("details", {}, make("summary", {}, "All weights as a table"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const heads = headsOf(found);
    const cells = (values) => values.map((value) => make("td", { class: "num" }, weight(value)));
    const lines = found.rows.map((row, i) => make("tr", {},
      make("th", { scope: "row", class: "id" }, row.item ?? "?"), make("td", { class: "time" }, moment(row.utc)), make("td", {}, outcomes(row)), ...cells(heads.map((one) => one.weights[i]))));
    const none = make("tr", {}, make("th", { scope: "row" }, "null row"), make("td"), make("td"), ...cells(heads.map((one) => one.null)));
    const names = [["Item"], ["When (UTC)"], ["Outcomes"], ...heads.map((one) => [one.name, "num"])];
    const table = make("table", { class: "small", id: "weights" }, make("caption", {}, "Oldest first. Every column adds up to 1."), head(names), make("tbody", {}, ...lines, none));
    details.append(make("div", { class: "scroll", role: "region", "aria-label": "All weights", tabindex: "0" }, table));
  });
  return details;
}

function sentence(found) {
  if (!found.rows.length || !found.layers.length) return `Item ${found.item}: score ${score(found.score)}, no history.`;
  const row = found.rows[mostHeeded(found)];
  return `Item ${found.item}: score ${score(found.score)}. Most attended: item ${row.item ?? "?"} of ${moment(row.utc)}.`;
}
