// The page as a whole: what comes from the monitor goes to whoever draws it.
//
//   /api/status    once, at each (re)connection: is anybody there, which run, may it be commanded
//   /api/history   once, for each run: the last ten minutes
//   /api/browse    the same: whether the application has a page of its own, and what it is called
//   /api/events    from then on: every look at the run, and what happens
//
// When the connection is lost the last figures stay, and it is tried again; another run at the same place begins anew, once
// this browser has shown its token, be it in another tab.

import { Actors } from "./actors.js";
import { Control } from "./control.js";
import { ask, byId, mark, say } from "./dom.js";
import { compact, duration, integer, moment, percent } from "./format.js";
import { Happenings } from "./happenings.js";
import { showLag } from "./lag.js";
import { Letters } from "./letters.js";
import { Panel } from "./panel.js";
import { Throughput } from "./throughput.js";
import { Topology } from "./topology.js";

const RETRY_MS = [500, 1000, 2000, 4000];
const SILENT_MS = 20000; // a stream has a sign of life every 15 s
const CONTROL = "Thresher-Control";
const ANOTHER = "Another run answers here and wants its own token: open the address that it shows.";
const ENDING = new Set(["stopping", "ended"]);

const parts = {
  actors: new Actors(), control: new Control(), happenings: new Happenings(), letters: new Letters(), panel: new Panel(),
  throughput: new Throughput(byId("throughput")), topology: new Topology(byId("topology")),
};
const state = { run: null, mode: "", events: null, tries: 0, timer: 0, watchdog: 0, hasEnded: false };

// Drawing ---------------------------------------------------------------------------------------------------------

function show(status) {
  const { snapshot, flow } = status;
  state.mode = snapshot.mode;
  header(snapshot, flow);
  say(byId("bottleneck"), flow.bottleneck.text);
  showLag(snapshot.lag);
  announce(snapshot, flow);
  parts.topology.show(status);
  parts.actors.show(status);
  parts.throughput.show(snapshot);
  parts.happenings.take(snapshot.happenings);
  parts.control.show(status);
  parts.letters.show(snapshot.outcomes.dead_lettered ?? 0);
  parts.panel.show();
}

function header(snapshot, flow) {
  const isReady = snapshot.not_ready.length === 0;
  document.title = `${snapshot.name}: ${isReady ? snapshot.mode : "not ready"} – Thresher`;
  say(byId("name"), snapshot.name);
  badge(byId("mode"), snapshot.mode || "starting", snapshot.mode === "running" ? "busy" : "warn");
  badge(byId("ready"), isReady ? "ready" : "not ready", isReady ? "ok" : "bad");
  const why = snapshot.not_ready.join("; ");
  say(byId("why"), why);
  byId("why").hidden = !why;
  say(byId("rate"), compact(flow.records_per_s));
  say(byId("read"), integer(snapshot.outcomes.read ?? 0));
  const dead = snapshot.outcomes.dead_lettered ?? 0;
  say(byId("dead"), integer(dead));
  mark(byId("dead"), "class", dead ? "warn" : null);
  say(byId("progress-text"), flow.progress === null ? "endless" : percent(Math.floor(1000 * flow.progress) / 1000));
  byId("progress").hidden = flow.progress === null;
  byId("progress").value = flow.progress ?? 0;
  say(byId("eta"), flow.progress === null ? "–" : duration(flow.eta_s));
  say(byId("uptime"), snapshot.started ? duration(Math.max(0, snapshot.at - snapshot.started)) : "–");
  say(byId("foot"), `run ${snapshot.run}, started ${snapshot.started ? moment(snapshot.started) : "–"}, state in ${snapshot.state}`);
}

function badge(element, text, tone) {
  say(element, text);
  mark(element, "class", `badge ${tone}`);
}

/** Say aloud what has changed in kind: a sentence whose figures change every second would never be silent. */
function announce(snapshot, flow) {
  const ready = snapshot.not_ready.length ? `not ready: ${snapshot.not_ready.map((why) => why.replace(/\d+ s/g, "")).join("; ")}` : "ready";
  const key = `${snapshot.mode} ${ready} ${flow.bottleneck.stage}`;
  if (key === state.announced) return;
  state.announced = key;
  say(byId("announce"), `${snapshot.name} is ${snapshot.mode}, ${ready}. ${flow.bottleneck.text}`);
}

// The connection --------------------------------------------------------------------------------------------------

async function connect() {
  clearTimeout(state.timer);
  try {
    const { data, headers } = await ask("/api/status");
    if (data.snapshot.run !== state.run) await begin(data);
    parts.control.allow(headers.get(CONTROL) === "allowed");
    show(data);
  } catch (error) {
    lost(error instanceof TypeError ? "" : error.status === 401 ? ANOTHER : error.message);
    return;
  }
  listen();
}

/** Another run than before, or the first. */
async function begin({ snapshot }) {
  const [{ data }, { data: page }] = await Promise.all([ask("/api/history"), ask("/api/browse")]);
  say(byId("browse"), page.title);
  byId("browse").hidden = !page.title;
  for (const part of [parts.control, parts.happenings, parts.letters, parts.panel]) part.forget();
  parts.throughput.begin(data);
  state.run = snapshot.run;
  state.hasEnded = false;
}

function listen() {
  const events = new EventSource("/api/events");
  state.events = events;
  events.addEventListener("open", () => {
    state.tries = 0;
    document.body.classList.remove("stale");
    say(byId("link"), "");
    heard();
  });
  events.addEventListener("status", (event) => { heard(); show(JSON.parse(event.data)); });
  events.addEventListener("happening", (event) => { heard(); parts.happenings.take([JSON.parse(event.data)]); });
  events.addEventListener("end", () => { state.hasEnded = ENDING.has(state.mode) || state.mode === "draining"; lost(""); });
  events.addEventListener("error", () => lost(""));
}

function heard() {
  clearTimeout(state.watchdog);
  state.watchdog = setTimeout(() => lost("nothing was heard for a while"), SILENT_MS);
}

function lost(why) {
  state.events?.close();
  state.events = null;
  clearTimeout(state.watchdog);
  document.body.classList.add("stale");
  parts.control.disable();
  const hasEnded = state.hasEnded || ENDING.has(state.mode);
  say(byId("link"), hasEnded ? `The run has ended. These are its last figures.${why && ` ${why}`}`
    : `Connection lost. Trying again.${why && ` ${why}`}`);
  if (hasEnded) {
    badge(byId("mode"), "ended", "off");
    badge(byId("ready"), "", "");
    byId("why").hidden = true;
    say(byId("bottleneck"), "the run has ended");
  }
  const wait = RETRY_MS[Math.min(state.tries, RETRY_MS.length - 1)];
  state.tries += 1;
  clearTimeout(state.timer);
  state.timer = setTimeout(connect, wait);
}

connect();
