// What each part of the page shows of a picture.

import { age, byId, clock, count, element, millis, moment, rate, say } from "/console/dom.js";
import { Chart, laidOut } from "/console/charts.js";
import { Table } from "/console/tables.js";

const ANSWERS = {
  on_time: { word: "On time", mark: "✓" },
  late: { word: "Late", mark: "!" },
  unknown: { word: "Unknown", mark: "?" },
};
const LATE_WAIT_MS = 1000;

const perSecond = (value) => (value == null ? "–" : rate(value));

const since = (ms, picture) => (ms ? { text: age(picture.at_ms - ms), hint: moment(ms) } : "–");

function shardState(shard, picture) {
  if (!shard.owner) {
    const word = shard.ownerless_exactly ? "for" : "for at least";
    return { text: `no owner ${word} ${age(picture.at_ms - shard.ownerless_since_ms)}`, mark: "bad" };
  }
  if (!shard.phase) {
    const answers = picture.nodes.some((each) => each.name === shard.owner && each.lease_left_ms != null);
    return answers ? { text: "taken over", mark: "busy" } : { text: "no answer", mark: "bad" };
  }
  const words = { LOADING: "loading", SERVING: "serving", RELEASING: "letting go" };
  if (shard.assigned && shard.assigned !== shard.owner) return { text: `moves to ${shard.assigned}`, mark: "busy" };
  return { text: words[shard.phase] ?? shard.phase, mark: shard.phase === "SERVING" ? "ok" : "busy" };
}

function oldest(shard, picture) {
  if (shard.oldest_due_ms == null) return "–";
  const wait = picture.at_ms - shard.oldest_due_ms;
  return { text: millis(Math.max(0, wait)), mark: wait >= LATE_WAIT_MS ? "bad" : undefined };
}

const most = (records, field) => Math.max(1, ...records.map((each) => each[field] ?? 0));

const SHARDS = [
  { title: "Shard", number: true, cell: (each) => each.shard },
  { title: "State", cell: shardState },
  { title: "Owner", cell: (each) => each.owner ?? "nobody" },
  { title: "Backlog", number: true, cell: (each, picture) => (each.due == null ? "–" : { text: count(each.due), share: each.due / most(picture.shards, "due") }) },
  { title: "Oldest", number: true, cell: oldest },
  { title: "In memory", number: true, cell: (each) => count(each.tasks) },
  { title: "Starts/min", number: true, cell: (each) => count(each.starts) },
  { title: "p50", number: true, cell: (each) => millis(each.p50_ms) },
  { title: "p99", number: true, cell: (each) => millis(each.p99_ms) },
  { title: "Since", number: true, cell: (each, picture) => since(each.acquired_ms, picture) },
  { title: "Why there", cell: (each) => each.reason || "–" },
  { title: "Epoch", number: true, cell: (each) => (each.epoch ? String(each.epoch) : "–") },
];

const name = { title: "Name", cell: (each) => ({ text: each.name, hint: each.name }) };
const place = [
  { title: "Address", cell: (each) => each.address || "–" },
  { title: "Up", number: true, cell: (each, picture) => since(each.started_ms, picture) },
  { title: "Incarnation", number: true, cell: (each) => String(each.incarnation) },
  { title: "Version", cell: (each) => each.version || "–" },
];

function nodeState(node) {
  if (node.lease_left_ms == null) return { text: "no answer", mark: "bad" };
  if (node.draining) return { text: "draining", mark: "busy" };
  return node.lease_left_ms > 0 ? { text: "acting", mark: "ok" } : { text: "without a lease", mark: "bad" };
}

function numbers(list) {
  const shown = list.slice(0, 12).join(", ");
  return { text: list.length > 12 ? `${shown} …` : shown || "–", hint: list.join(", ") };
}

const NODES = [
  name,
  { title: "State", cell: nodeState },
  { title: "Shards", number: true, cell: (each) => count(each.shards.length) },
  { title: "Which", cell: (each) => numbers(each.shards) },
  { title: "Backlog", number: true, cell: (each) => count(each.due) },
  { title: "In memory", number: true, cell: (each) => count(each.tasks) },
  { title: "Starts/min", number: true, cell: (each) => count(each.starts) },
  { title: "Lease left", number: true, cell: (each) => millis(each.lease_left_ms) },
  ...place,
];

function streams(executor) {
  const ready = executor.streams.filter(([, state]) => state === "ready").length;
  const all = executor.streams.length;
  const hint = executor.streams.map(([node, state]) => `${node}: ${state}`).join("\n");
  if (executor.draining) return { text: "draining", mark: "busy", hint };
  if (!all) return { text: "nobody says", mark: "busy" };
  if (ready === all) return { text: `ready, ${all} of ${all}`, mark: "ok", hint };
  return { text: `ready, ${ready} of ${all}`, mark: ready ? "busy" : "bad", hint };
}

const EXECUTORS = [
  name,
  { title: "Streams", cell: streams },
  { title: "Strength", number: true, cell: (each) => count(each.strength) },
  { title: "Slots used", number: true, cell: (each) => ({ text: `${count(each.used)} of ${count(each.slots)}`, share: each.slots ? each.used / each.slots : 0 }) },
  { title: "Handlers", cell: (each) => ({ text: each.handlers.join(", ") + (each.more_handlers ? ` and ${each.more_handlers} more` : "") || "none", hint: each.handlers.join("\n") }) },
  { title: "Labels", cell: (each) => each.labels.join(", ") || "–" },
  ...place,
];

const COORDINATORS = [
  name,
  { title: "Role", cell: (each, picture) => (each.leader ? "leads" : "stands by") + (each.name === picture.about.coordinator ? ", shows this page" : "") },
  ...place,
];

/** The whole page below the header. */
export class Views {
  constructor() {
    this.rows = new Map();
    this.tables = {
      shards: new Table(byId("shards"), SHARDS, "No shard is known yet."),
      nodes: new Table(byId("nodes"), NODES, "No scheduler node is alive: nothing can start."),
      executors: new Table(byId("executors"), EXECUTORS, "No executor is alive: due tasks wait."),
      coordinators: new Table(byId("coordinators"), COORDINATORS, "No coordinator is known."),
    };
    this.throughput = new Chart(byId("throughput"), {
      label: "Attempts started and tasks created a second, over ten minutes.",
      scale: "linear",
      words: perSecond,
      series: [
        { name: "started/s", style: "first", value: (point) => point.started },
        { name: "created/s", style: "second", value: (point) => point.created },
      ],
    });
    this.lateness = new Chart(byId("lateness"), {
      label: "Lateness of starts over ten minutes, the worst second of five each, logarithmic.",
      scale: "log",
      words: millis,
      limit: 500,
      limitName: "promised at most",
      series: [
        { name: "p50", style: "first", value: (point) => point.p50 },
        { name: "p99", style: "second", value: (point) => point.p99 },
        { name: "max", style: "third", value: (point) => point.max },
      ],
    });
  }

  /** Forget the past: another coordinator, or another life of it, tells it anew. */
  forget() {
    this.rows.clear();
  }

  show(picture, history) {
    const answer = ANSWERS[picture.verdict.level] ?? ANSWERS.unknown;
    document.body.dataset.level = picture.verdict.level;
    document.title = `${answer.word} · Timeball console`;
    say(byId("answer"), answer.word);
    say(byId("mark"), answer.mark);
    this.reasons(picture.verdict.reasons);
    this.header(picture);
    if (!picture.shards) return;
    this.past(history, picture);
    this.tiles(picture);
    for (const part of ["shards", "nodes", "executors", "coordinators"]) {
      const key = part === "shards" ? (each) => each.shard : (each) => each.name;
      this.tables[part].show(picture[part], key, picture, picture.totals[part]);
    }
  }

  reasons(sentences) {
    const list = byId("reasons");
    while (list.children.length > sentences.length) list.lastChild.remove();
    while (list.children.length < sentences.length) list.append(element("li"));
    sentences.forEach((sentence, index) => say(list.children[index], sentence));
  }

  header({ about, at_ms: at, assignment }) {
    say(byId("about"), `${about.coordinator} · ${about.store} · version ${about.version}`);
    const version = assignment == null ? "" : ` Assignment ${assignment}.`;
    say(byId("foot"), `Seen by ${about.coordinator} at ${moment(at)}.${version} Read-only; the API is described at /openapi.json.`);
  }

  past(history, picture) {
    for (const row of history.rows) this.rows.set(row[0], row);
    for (const second of this.rows.keys()) if (second < history.since_s) this.rows.delete(second);
    if (!history.until_s) return;
    const points = laidOut(this.rows, history);
    this.throughput.show(points);
    this.lateness.show(points);
    const { coordinator, since_ms: start } = picture.about;
    say(byId("memory"), `Points of 5 s; lateness is that of the worst second in each. As the living scheduler nodes remember it, from ${clock(history.since_s * 1000)} UTC on; ${coordinator} has collected since ${clock(start)} UTC, while somebody looked.`);
  }

  tiles(picture) {
    const minute = picture.last_minute;
    const due = picture.totals.due;
    const free = picture.totals.slots - picture.totals.used;
    const tiles = [
      ["Started", `${rate(minute.starts / minute.seconds)}/s`, "attempts, last minute"],
      ["Created", `${rate(minute.created / minute.seconds)}/s`, "tasks, last minute"],
      ["Lateness p99", millis(minute.p99_ms), `p50 ${millis(minute.p50_ms)}, max ${millis(minute.max_ms)}`],
      ["Backlog", count(due), due === 1 ? "due task waits" : "due tasks wait"],
      ["Slots free", count(free), `of ${count(picture.totals.slots)} on ${count(picture.totals.executors)} ${picture.totals.executors === 1 ? "executor" : "executors"}`],
      ["Failed for good", count(minute.failed), "tasks, last minute"],
    ];
    const list = byId("tiles");
    if (!list.children.length) {
      list.append(...tiles.map(([title]) => element("div", { class: "tile" }, element("dt", {}, title), element("dd", { class: "figure" }), element("dd", { class: "note" }))));
    }
    tiles.forEach(([, figure, small], index) => {
      say(list.children[index].children[1], figure);
      say(list.children[index].children[2], small);
    });
  }
}
