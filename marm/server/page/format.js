/** Numbers, times and outcomes as people read them. */

import { sign } from "./dom.js";

const SIZES = ["B", "KB", "MB", "GB", "TB"];
const SPANS = [[31557600, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export const whole = (number) => number.toLocaleString("en");
export const share = (number) => `${(100 * number).toFixed(number < 0.0995 ? 1 : 0)}%`;
export const ms = (number) => `${number < 10 ? number.toFixed(2) : number.toFixed(number < 100 ? 1 : 0)}`;

/** Three digits that matter. */
export const weight = (number) => (number === 0 ? "0" : Math.abs(number) < 0.0005 ? "<.001" : number.toFixed(3).replace(/^0/, ""));

/** A prediction, in as many digits as tell it from its neighbours. */
export const score = (number) => (Math.abs(number) < 100 ? number.toFixed(4) : number.toPrecision(6));

export function bytes(number) {
  let size = 0;
  for (; number >= 1000 && size < SIZES.length - 1; size++) number /= 1000;
  return `${size && number < 100 ? number.toFixed(1) : Math.round(number)} ${SIZES[size]}`;
}

export function span(seconds) {
  const [unit, name] = SPANS.find(([unit]) => seconds >= unit) ?? [1, "s"];
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** A time of an event: day and minute, in UTC. */
export const moment = (utc) => utc.slice(0, 19).replace("T", " ");

/** What the item file says of an item, in a few words: its title if it has one, else what it is. */
export function features(said) {
  const title = said.title ?? said.name;
  if (title !== undefined) return String(title);
  const worded = Object.entries(said).filter(([, value]) => typeof value === "string" || Array.isArray(value));
  return worded.slice(0, 3).map(([, value]) => (Array.isArray(value) ? value.join(" ") : value)).filter(Boolean).join(" · ");
}

/** An outcome as a sign and in words. */
export function outcome(value) {
  const [shown, spoken, kind] = said(value);
  return sign(shown, spoken, `outcome ${kind}`);
}

/** An outcome in words. */
export const worded = (value) => said(value)[1];

function said(value) {
  if (value === "unknown") return ["?", "unknown yet", "unknown"];
  if (value === null) return ["·", "not observed", "none"];
  if (Array.isArray(value)) return [bounds(value), between(value), "number"];
  return value ? ["✓", "yes", "yes"] : ["–", "no", "no"];
}

function bounds([low, high]) {
  if (low === null) return `<${high}`;
  return high === null ? `≥${low}` : `${low}–${high}`;
}

function between([low, high]) {
  if (low === null) return `under ${high}`;
  return high === null ? `${low} or more` : `${low} to ${high}`;
}
