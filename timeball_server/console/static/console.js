// The page's life: one stream while it is looked at, signing in where keys are asked for, and
// honest words when no news comes.

import { age, byId, clock, say } from "/console/dom.js";
import { Views } from "/console/views.js";

const SILENT_MS = 3000;
const RENEW_MS = 12000;
const LONGEST_PAUSE_MS = 10000;
const REFUSALS = {
  401: "This is no key that counts here: it is not known, or its time is over.",
  403: "This key is known, but may not look: it needs the role viewer.",
};

const views = new Views();
let source = null;
let reopening = 0;
let failures = 0;
let heard = performance.now();
let life = "";
let version = "";
let pictured = 0;

function open() {
  close();
  if (document.hidden) return;
  source = new EventSource("/console/stream");
  source.addEventListener("picture", take);
  source.addEventListener("end", later);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) refused();
  });
}

function close() {
  clearTimeout(reopening);
  source?.close();
  source = null;
}

/** Again, after a pause that grows. */
function later() {
  close();
  const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
  failures += 1;
  reopening = setTimeout(open, pause);
}

/** The stream was answered with an error, which it does not show: ask who we are. */
async function refused() {
  close();
  if (await mayLook()) later();
}

/** Whether we may look, as far as anybody says; asks for a key if not. */
async function mayLook() {
  try {
    const reply = await fetch("/console/session");
    if (!reply.ok) return true; // nobody can say now: the stream is tried
    const answer = await reply.json();
    byId("leave").hidden = !(answer.allowed && answer.session);
    if (!answer.allowed) askForKey();
    return answer.allowed;
  } catch {
    return true; // nobody answers: the banner says so
  }
}

function take(event) {
  const { picture, history } = JSON.parse(event.data);
  const [theirs] = event.lastEventId.split("-");
  if (theirs !== life) views.forget();
  if (version && version !== picture.about.version) location.reload();
  [life, version, pictured] = [theirs, picture.about.version, picture.at_ms];
  heard = performance.now();
  failures = 0;
  byId("picture").hidden = false;
  byId("sign-in").hidden = true;
  views.show(picture, history);
  look();
}

/** Says how old the picture is once it is old. */
function look() {
  const silent = performance.now() - heard;
  const isSilent = silent > SILENT_MS && byId("sign-in").hidden && !document.hidden;
  const banner = byId("banner");
  document.body.classList.toggle("stale", isSilent && pictured > 0);
  if (isSilent) {
    const shown = pictured ? ` What you see is from ${clock(pictured)} UTC.` : "";
    say(banner, `No news for ${age(silent)}; trying again.${shown}`);
    document.title = "No news · Timeball console";
  }
  banner.hidden = !isSilent;
  if (isSilent && source && silent > RENEW_MS && Math.floor(silent / 1000) % 12 === 0) open();
}

function askForKey() {
  byId("picture").hidden = true;
  byId("leave").hidden = true;
  byId("banner").hidden = true;
  byId("sign-in").hidden = false;
  document.title = "Sign in · Timeball console";
  say(byId("about"), "");
  byId("key").focus();
}

async function signIn(event) {
  event.preventDefault();
  const field = byId("key");
  const body = JSON.stringify({ key: field.value.trim() });
  field.value = "";
  const headers = { "content-type": "application/json" };
  let words = "Nobody answers. Try again.";
  try {
    const answer = await fetch("/console/session", { method: "POST", headers, body });
    if (answer.ok) {
      byId("sign-in").hidden = true;
      say(byId("refused"), "");
      begin();
      return;
    }
    words = REFUSALS[answer.status] ?? (await answer.json()).error.message;
  } catch {
    // said below
  }
  say(byId("refused"), words);
  field.focus();
}

async function signOut() {
  close();
  await fetch("/console/session", { method: "DELETE" }).catch(() => null);
  askForKey();
}

byId("sign-in").addEventListener("submit", signIn);
byId("leave").addEventListener("click", signOut);
document.addEventListener("visibilitychange", () => {
  heard = Math.max(heard, performance.now() - SILENT_MS);
  if (document.hidden) close();
  else if (byId("sign-in").hidden) open();
});
async function begin() {
  heard = performance.now();
  if (await mayLook()) open();
}

setInterval(look, 500);
begin();
