// Tables that change in place: rows stay the same elements, only texts that differ are written.

import { drawn, element, say } from "/console/dom.js";

/**
 * A table below the heading of a section.
 *
 * A column has a title, a cell (row, picture) => text, or an object with text, hint (a tooltip),
 * mark (ok, busy, bad) and share (a bar from 0 to 1), and may be a number.
 */
export class Table {
  constructor(section, columns, empty) {
    this.columns = columns;
    this.rows = new Map();
    this.count = section.querySelector(".count");
    this.body = element("tbody");
    this.empty = element("p", { class: "note", hidden: "" }, empty);
    const title = section.querySelector("h2").firstChild.data.trim();
    const heads = columns.map((column) =>
      element("th", { scope: "col", ...(column.number && { class: "number" }) }, column.title),
    );
    const table = element("table", {}, element("caption", {}, title), element("thead", {}, element("tr", {}, ...heads)), this.body);
    const frame = { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, scrollable` };
    this.frame = element("div", frame, table);
    section.append(this.frame, this.empty);
  }

  /** Show these records; `key` names them over time, `total` says how many there are in all. */
  show(records, key, picture, total = records.length) {
    const seen = new Set();
    records.forEach((record, place) => {
      const name = String(key(record));
      seen.add(name);
      const row = this.rows.get(name) ?? this.add(name);
      if (this.body.children[place] !== row.line) this.body.insertBefore(row.line, this.body.children[place] ?? null);
      this.columns.forEach((column, index) => fill(row.cells[index], column.cell(record, picture)));
    });
    for (const [name, row] of this.rows) {
      if (!seen.has(name)) {
        row.line.remove();
        this.rows.delete(name);
      }
    }
    say(this.count, total > records.length ? `${records.length} of ${total}, the worst first` : String(total));
    this.frame.hidden = records.length === 0;
    this.empty.hidden = records.length > 0;
  }

  add(name) {
    const cells = this.columns.map((column, index) => {
      const tag = index === 0 ? "th" : "td";
      const attributes = { ...(index === 0 && { scope: "row" }), ...(column.number && { class: "number" }) };
      const text = element("span", { class: "text" });
      return { cell: element(tag, attributes, text), text, bar: null };
    });
    const row = { line: element("tr", {}, ...cells.map((each) => each.cell)), cells };
    this.rows.set(name, row);
    return row;
  }
}

function fill(place, content) {
  const { text, hint, mark, share } = typeof content === "object" ? content : { text: content };
  say(place.text, String(text));
  note(place.text, "title", hint);
  note(place.text, "data-mark", mark);
  place.bar?.parentNode.classList.toggle("none", share == null);
  if (share == null) return;
  place.bar ??= bar(place.cell);
  const width = String(Math.round(60 * Math.min(1, Math.max(0, share))));
  if (place.bar.getAttribute("width") !== width) place.bar.setAttribute("width", width);
}

function note(target, name, value) {
  if (value) {
    if (target.getAttribute(name) !== value) target.setAttribute(name, value);
  } else if (target.hasAttribute(name)) target.removeAttribute(name);
}

function bar(cell) {
  const level = drawn("rect", { class: "level", height: "5", rx: "1.5", width: "0" });
  const track = drawn("rect", { class: "track", height: "5", rx: "1.5", width: "60" });
  cell.prepend(drawn("svg", { class: "bar", width: "60", height: "5", "aria-hidden": "true" }, track, level));
  return level;
}
