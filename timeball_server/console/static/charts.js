// Lines over the last ten minutes, one point a second. Line styles differ, not colours alone.

import { clock, drawn, element, say } from "/console/dom.js";

const SPAN_S = 600;
const HEIGHT = 150;
const EDGE = { left: 46, right: 8, top: 8, bottom: 20 };

/**
 * A chart in a figure.
 *
 * A series has a name, a class and value(row) => number or null. `words` writes a value, `scale`
 * is "linear" or "log", `limit` draws a line with `limitName` at a value.
 */
export class Chart {
  constructor(figure, { series, words, scale, limit, limitName, label }) {
    Object.assign(this, { series, words, scale, limit, limitName, label });
    this.points = [];
    this.pointed = null;
    this.picture = drawn("svg", { class: "chart", height: HEIGHT, role: "img" });
    this.frame = element("div", { class: "frame" }, this.picture);
    figure.append(this.frame);
    this.legend = series.map((each) => {
      const value = element("span", { class: "value" });
      const sample = drawn("svg", { width: 22, height: 8, "aria-hidden": "true" }, drawn("path", { class: `line ${each.style}`, d: "M1 4h20" }));
      figure.querySelector(".legend").append(element("span", { class: "entry" }, sample, ` ${each.name} `, value));
      return value;
    });
    this.when = element("span", { class: "when" });
    figure.querySelector(".legend").append(this.when);
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.picture.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.picture.addEventListener("pointerleave", () => this.point(null));
  }

  /** Rows by second, null where nothing is known; `until` is the second after the last one. */
  show(rows, until) {
    this.points = rows;
    this.until = until;
    this.draw();
  }

  point(x) {
    this.pointed = x === null ? null : Math.round((x - EDGE.left) / this.step());
    this.draw();
  }

  step() {
    return (this.width() - EDGE.left - EDGE.right) / (SPAN_S - 1);
  }

  width() {
    return Math.max(200, this.frame.clientWidth);
  }

  draw() {
    if (this.until === undefined) return;
    const width = this.width();
    this.picture.setAttribute("width", width);
    const top = this.top();
    const parts = [...this.grid(width, top), ...this.lines(top)];
    if (this.points[this.pointed]) {
      const x = EDGE.left + this.pointed * this.step();
      parts.push(drawn("path", { class: "pointer", d: `M${x.toFixed(1)} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }));
    }
    this.picture.replaceChildren(...parts);
    this.tell();
  }

  /** The greatest value that the picture has room for. */
  top() {
    const values = this.points.flatMap((row) => (row ? this.series.map((each) => each.value(row) ?? 0) : []));
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    if (this.scale === "log") return 10 ** Math.max(3, Math.ceil(Math.log10(Math.max(1, most))));
    const size = 10 ** Math.floor(Math.log10(Math.max(1, most)));
    return [1, 2, 5, 10].map((each) => each * size).find((each) => each >= Math.max(4, most)) ?? 10;
  }

  y(value, top) {
    const share = this.scale === "log" ? Math.log10(Math.max(1, value)) / Math.log10(top) : value / top;
    return HEIGHT - EDGE.bottom - share * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  *grid(width, top) {
    const ticks = this.scale === "log" ? Array.from({ length: Math.round(Math.log10(top)) + 1 }, (_, power) => 10 ** power) : [0, top / 2, top];
    for (const tick of ticks) {
      const y = this.y(tick, top).toFixed(1);
      yield drawn("path", { class: "grid", d: `M${EDGE.left} ${y}H${width - EDGE.right}` });
      yield drawn("text", { class: "tick", x: EDGE.left - 6, y, dy: "0.32em", "text-anchor": "end" }, this.words(tick));
    }
    if (this.limit && this.limit < top) {
      const y = this.y(this.limit, top);
      yield drawn("path", { class: "limit", d: `M${EDGE.left} ${y.toFixed(1)}H${width - EDGE.right}` });
      yield drawn("text", { class: "tick limit-name", x: width - EDGE.right, y: (y - 4).toFixed(1), "text-anchor": "end" }, this.limitName);
    }
    const every = width < 420 ? 300 : 120;
    for (let second = Math.ceil((this.until - SPAN_S) / every) * every; second < this.until; second += every) {
      const x = EDGE.left + (second - this.until + SPAN_S) * this.step();
      if (x > width - 24 || x < EDGE.left + 14) continue;
      yield drawn("path", { class: "grid", d: `M${x.toFixed(1)} ${HEIGHT - EDGE.bottom}v4` });
      yield drawn("text", { class: "tick", x: x.toFixed(1), y: HEIGHT - 4, "text-anchor": "middle" }, clock(second * 1000).slice(0, 5));
    }
  }

  *lines(top) {
    for (const each of this.series) {
      const d = [];
      let open = false;
      this.points.forEach((row, place) => {
        const value = row && each.value(row);
        if (value == null) {
          open = false;
          return;
        }
        const at = `${(EDGE.left + place * this.step()).toFixed(1)} ${this.y(value, top).toFixed(1)}`;
        d.push(open ? `L${at}` : `M${at}h0`);
        open = true;
      });
      yield drawn("path", { class: `line ${each.style}`, d: d.join("") });
    }
  }

  /** The pointed second, or the last one that is known, in words. */
  tell() {
    const last = this.points.length - 1;
    const place = this.points[this.pointed] ? this.pointed : last;
    const row = this.points[place];
    this.series.forEach((each, index) => say(this.legend[index], row ? this.words(each.value(row)) : "–"));
    say(this.when, row ? `${clock((this.until - SPAN_S + place) * 1000)} UTC` : "");
    const told = this.series.map((each) => `${each.name} ${row ? this.words(each.value(row)) : "unknown"}`);
    this.picture.setAttribute("aria-label", `${this.label} Now: ${told.join(", ")}.`);
  }
}

/** Rows as the charts want them: one place a second, zeros where nothing happened, null before. */
export function laidOut(rows, since, until) {
  return Array.from({ length: SPAN_S }, (_, place) => {
    const second = until - SPAN_S + place;
    if (second < since) return null;
    return rows.get(second) ?? [second, 0, 0, 0, null, null, null];
  });
}
