// Elements and words. Everything from the cluster becomes a text node here and nowhere else.

export const byId = (id) => document.getElementById(id);

/** An element with attributes; children are elements or texts. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/** Sets a text only if it is another one, so that selections and screen readers are left alone. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

const numbers = new Intl.NumberFormat("en");

export const count = (value) => (value == null ? "–" : numbers.format(value));

/** Events per second. */
export const rate = (value) => (value >= 10 || Number.isInteger(value) ? count(Math.round(value)) : value.toFixed(1));

/** A short duration, such as a lateness. */
export function millis(value) {
  if (value == null) return "–";
  if (value < 1000) return `${value} ms`;
  return value < 10000 ? `${(value / 1000).toFixed(1)} s` : age(value);
}

/** A duration as people say it. */
export function age(value) {
  const seconds = Math.max(0, Math.floor(value / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${seconds} s`;
}

/** A time of day; UTC, as in the logs. */
export const clock = (ms) => new Date(ms).toISOString().slice(11, 19);

/** A date and a time of day in UTC. */
export const moment = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
