/** What is recommended: how stages narrow, and the items with what each task predicts. */

import { bar, by, head, make } from "./dom.js";
import { ms, score, whole } from "./format.js";

/** Show an answer of /v1/recommend; `explain` is called with an item that is chosen. */
export function showShown(found, explain) {
  const { stages, waited_ms: waited, ms: all, cut, tail } = found.trace;
  const most = Math.max(1, ...stages.map((stage) => stage.taken));
  by("stages").replaceChildren(...stages.map((stage) => narrowing(stage, most)),
    make("li", { class: "total" }, make("span", {}, "in all"), make("span", { class: "quiet" }, `cut ${cut}, ${whole(tail)} live events, waited ${ms(waited)} ms`), make("span", { class: "num" }, `${ms(all)} ms`)));
  showItems(found, explain);
}

function narrowing(stage, most) {
  const breadth = (count) => (count ? 0.04 + 0.96 * (Math.log1p(count) / Math.log1p(most)) : 0);
  return make("li", {},
    make("span", { class: "name" }, stage.stage),
    make("span", { class: "narrow" }, bar(breadth(stage.taken)), bar(breadth(stage.given))),
    make("span", {}, `${whole(stage.taken)} `, make("span", { "aria-hidden": "true" }, "→"), make("span", { class: "unseen" }, " narrowed to "), ` ${whole(stage.given)}`),
    make("span", { class: "num" }, `${ms(stage.ms)} ms`));
}

function showItems(found, explain) {
  const tasks = Object.keys(found.items[0]?.tasks ?? {});
  const names = [["", "num"], ["Item"], ["Score", "num"], ...tasks.map((task) => [task, "num"])];
  const most = Math.max(1e-9, ...found.items.map((item) => Math.abs(item.score)));
  const lines = found.items.map((one, i) => {
    const button = make("button", { type: "button", class: "link id", "aria-pressed": "false" }, one.item);
    button.dataset.item = JSON.stringify(one.item);
    const row = make("tr", {},
      make("td", { class: "num quiet" }, i + 1),
      make("th", { scope: "row" }, button),
      make("td", { class: "num" }, bar(Math.abs(one.score) / most), make("span", {}, score(one.score))),
      ...tasks.map((task) => make("td", { class: "num" }, score(one.tasks[task]))));
    row.addEventListener("click", () => explain(one.item));
    return row;
  });
  const text = found.items.length ? "Best first. Choose an item to see what it attends to." : "Nothing to show.";
  by("shown").replaceChildren(make("caption", {}, found.degraded ? "The store cannot be read: answered without all of the history." : text), head(names), make("tbody", {}, ...lines));
}

/** Mark the item that is explained. */
export function markChosen(item) {
  for (const button of by("shown").querySelectorAll("button")) {
    const chosen = button.dataset.item === JSON.stringify(item);
    button.setAttribute("aria-pressed", String(chosen));
    button.closest("tr").classList.toggle("chosen", chosen);
  }
}
