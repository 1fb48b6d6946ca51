/** Building the page: everything that comes from the server becomes text, never markup. */

/** The element with an id. */
export const by = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null).map((c) => (c instanceof Node ? c : String(c))));
  return element;
}

/** A bar behind a number; it says nothing that the number beside it does not. */
export function bar(share) {
  const inner = make("span");
  inner.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** Text for those who do not see the sign. */
export const sign = (shown, spoken, kind) =>
  make("span", { class: kind }, make("span", { "aria-hidden": "true" }, shown), make("span", { class: "unseen" }, spoken));

/** A table's head row from names; numbers stand at the right. */
export function head(names) {
  const cells = names.map(([name, kind]) => make("th", { scope: "col", class: kind }, name));
  return make("thead", {}, make("tr", {}, ...cells));
}

/** Terms and what they are. */
export const facts = (pairs) =>
  pairs.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)));
