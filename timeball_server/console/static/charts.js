// Ten minutes in points of five seconds. Shapes and line styles differ, not colours alone.

import { clock, drawn, element, say } from "/console/dom.js";

const POINT_S = 5;
const POINTS = 120;
const HEIGHT = 150;
const EDGE = { left: 46, right: 8, top: 8, bottom: 20 };

/**
 * A chart in a figure.
 *
 * A series has a name, a style (first and second are lines, third is an area) and
 * value(point) => number or null. `words` writes a value, `scale`
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
      const sample = drawn("svg", { width: 22, height: 8, "aria-hidden": "true" }, drawn("path", { class: `line ${each.style}`, d: each.style === "third" ? "M1 0h20v8h-20z" : "M1 4h20" }));
      figure.querySelector(".legend").append(element("span", { class: "entry" }, sample, ` ${each.name} `, value));
      return value;
    });
    this.when = element("span", { class: "when" });
    figure.querySelector(".legend").append(this.when);
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.picture.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.picture.addEventListener("pointerleave", () => this.point(null));
  }

  /** Points as `laidOut` makes them. */
  show(points) {
    this.points = points;
    this.draw();
  }

  point(x) {
    this.pointed = x === null ? null : Math.round((x - EDGE.left) / this.step());
    this.draw();
  }

  step() {
    return (this.width() - EDGE.left - EDGE.right) / (POINTS - 1);
  }

  width() {
    return Math.max(200, this.frame.clientWidth);
  }

  draw() {
    if (!this.points.length) return;
    const width = this.width();
    this.picture.setAttribute("width", width);
    const top = this.top();
    const parts = [...this.grid(width, top), ...this.lines(top), ...this.promise(width, top)];
    if (this.points[this.pointed]) {
      const x = EDGE.left + this.pointed * this.step();
      parts.push(drawn("path", { class: "pointer", d: `M${x.toFixed(1)} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }));
    }
    this.picture.replaceChildren(...parts);
    this.tell();
  }

  /** The greatest value that the picture has room for. */
  top() {
    const values = this.points.flatMap((point) => this.series.map((each) => each.value(point) ?? 0));
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
    const every = width < 420 ? 300 : 120;
    for (const [place, { second }] of this.points.entries()) {
      const x = EDGE.left + place * this.step();
      if (second % every || x > width - 24 || x < EDGE.left + 14) continue;
      yield drawn("path", { class: "grid", d: `M${x.toFixed(1)} ${HEIGHT - EDGE.bottom}v4` });
      yield drawn("text", { class: "tick", x: x.toFixed(1), y: HEIGHT - 4, "text-anchor": "middle" }, clock(second * 1000).slice(0, 5));
    }
  }

  *promise(width, top) {
    if (!this.limit || this.limit >= top) return;
    const y = this.y(this.limit, top);
    yield drawn("path", { class: "limit", d: `M${EDGE.left} ${y.toFixed(1)}H${width - EDGE.right}` });
    yield drawn("text", { class: "tick limit-name", x: EDGE.left + 4, y: (y - 4).toFixed(1) }, this.limitName);
  }

  *lines(top) {
    for (const each of [...this.series].reverse()) {
      const d = this.runs(each).map((run) => {
        const path = run.map(([place, value]) => `${(EDGE.left + place * this.step()).toFixed(1)} ${this.y(value, top).toFixed(1)}`);
        return `M${path[0]}h0L${path.join("L")}${each.style === "third" ? this.closed(run) : ""}`;
      });
      yield drawn("path", { class: `line ${each.style}`, d: d.join("") });
    }
  }

  /** Neighbouring points that have a value. */
  runs(series) {
    const found = [];
    let open = false;
    this.points.forEach((point, place) => {
      const value = series.value(point);
      if (value != null && !open) found.push([]);
      open = value != null;
      if (open) found.at(-1).push([place, value]);
    });
    return found;
  }

  closed(run) {
    const x = (place) => (EDGE.left + place * this.step()).toFixed(1);
    const floor = HEIGHT - EDGE.bottom;
    return `L${x(run.at(-1)[0])} ${floor}L${x(run[0][0])} ${floor}Z`;
  }

  /** The pointed point, or the last one, in words. */
  tell() {
    const point = this.points[this.pointed] ?? this.points.at(-1);
    const words = this.series.map((each) => this.words(each.value(point)));
    words.forEach((word, index) => say(this.legend[index], word));
    say(this.when, `${clock(point.second * 1000)} UTC`);
    const told = this.series.map((each, index) => `${each.name} ${words[index]}`);
    this.picture.setAttribute("aria-label", `${this.label} Last: ${told.join(", ")}.`);
  }
}

/**
 * Points of five seconds from rows by second: throughput on average, lateness of the worst second.
 *
 * Nothing is known before `since_s` and from `until_s` on; a second between without a row was idle.
 */
export function laidOut(rows, { since_s: since, until_s: until, end_s: end }) {
  const last = Math.floor((end - 1) / POINT_S) * POINT_S;
  return Array.from({ length: POINTS }, (_, place) => {
    const second = last - (POINTS - 1 - place) * POINT_S;
    const seconds = Array.from({ length: POINT_S }, (__, more) => second + more).filter((each) => each >= since && each < until);
    return { second, ...together(seconds.map((each) => rows.get(each) ?? IDLE)) };
  });
}

const IDLE = [0, 0, 0, 0, null, null, null];

function together(rows) {
  if (!rows.length) return {};
  const mean = (place) => rows.reduce((sum, row) => sum + row[place], 0) / rows.length;
  const worst = (place) => rows.reduce((most, row) => (row[place] == null ? most : Math.max(most ?? 0, row[place])), null);
  return { created: mean(1), started: mean(2), p50: worst(4), p99: worst(5), max: worst(6) };
}
