/* What is wrong for those who do not see, or see badly, or use no mouse: a list of sentences. */
() => {
  const wrong = [];
  const shown = (element) => element.checkVisibility({ checkVisibilityCSS: true });
  const every = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const named = (element) => {
    const by = element.getAttribute("aria-labelledby");
    const label = element.labels?.[0]?.textContent ?? (by && document.getElementById(by)?.textContent);
    return (element.getAttribute("aria-label") ?? label ?? element.textContent ?? "").trim();
  };
  const say = (what, element) => wrong.push(`${what}: ${element.outerHTML.slice(0, 120)}`);

  for (const one of every("input, button, a, canvas, summary, dialog, section, [role=region], [role=listbox]"))
    if (!named(one) && !one.closest("section.layer")) say("no name", one);
  for (const one of every("table")) {
    if (!one.caption?.textContent) say("no caption", one);
    for (const cell of one.querySelectorAll("th")) if (!cell.scope) say("no scope", cell);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) wrong.push(`id twice: ${id}`);
  for (const attribute of ["aria-labelledby", "aria-controls", "aria-describedby", "aria-activedescendant", "for"])
    for (const one of document.querySelectorAll(`[${attribute}]`))
      if (!document.getElementById(one.getAttribute(attribute))) say(`${attribute} of nothing`, one);

  let level = 0;
  for (const one of every("h1, h2, h3, h4")) {
    const next = Number(one.tagName[1]);
    if (next > level + 1) say("a level of headings is skipped", one);
    level = next;
  }
  if (every("h1").length !== 1) wrong.push("not one h1");
  if (every("main").length !== 1) wrong.push("not one main");
  if (!document.documentElement.lang) wrong.push("no language");
  if (!document.title) wrong.push("no title");
  for (const one of every("[tabindex]")) if (Number(one.getAttribute("tabindex")) > 0) say("takes focus out of order", one);
  for (const one of every(".scroll"))
    if (one.scrollWidth > one.clientWidth && one.tabIndex < 0) say("scrolls, but not by keyboard", one);
  for (const one of every("button, input[type=text], summary")) {
    const { height } = one.getBoundingClientRect();
    if (height < 20) say("too small to hit", one);
  }

  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !shown(element) || element.closest(":disabled, .unseen")) continue;
    const [over, under] = [light(rgba(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(over, under) + 0.05) / (Math.min(over, under) + 0.05);
    if (contrast < 4.5) say(`contrast ${contrast.toFixed(2)}`, element);
  }
  return wrong;
}
