// The page of an application's own: the items of a period to choose one of, and the charts of the one that is chosen.
//
//   /api/browse           once: what it is called
//   /api/browse/items     the items; again and again while the newest are shown
//   /api/browse/charts    the chosen one; again and again while more is to come
//
// What is shown is in the address, so that it can be sent to somebody else. When the connection is lost the last figures
// stay, and it is tried again.

import { Chart } from "./chart.js";
import { Dots, TONES } from "./dots.js";
import { ask, byId, h, keyed, mark, say } from "./dom.js";
import { inUnit, integer, moment, plain, tick } from "./format.js";

const AGAIN_MS = 2000;
const PATIENCE = 4; // what takes long is asked for more seldom
const COLORS = ["c1", "c4", "c2", "c6"];

const WHAT = ["first", "last", "within", "after", "id"]; // of what is shown, in the address

const state = { title: "", noun: "items", times: "", isOpen: false, timer: 0, tries: 0, asked: 0, items: null, wantsToSee: false };
const shown = Object.fromEntries(WHAT.map((name) => [name, ""]));
const charts = new Map();
const dots = new Dots(byId("dots"), choose);

// What is shown, as the address says -------------------------------------------------------------------------------

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const name of WHAT) shown[name] = said.get(name) ?? "";
  fill();
}

function fill() {
  byId("first").value = local(shown.first);
  byId("last").value = local(shown.last);
  byId("within").value = shown.within;
}

/** Show something else: what is not named stays as it is. */
function go(change) {
  Object.assign(shown, change);
  fill();
  history.replaceState(null, "", `#${new URLSearchParams(Object.entries(shown).filter(([, value]) => value))}`);
  look();
}

const isNewest = () => !shown.first && !shown.last && !shown.after;

/** ms since 1970 as an input of a time has it, and back; nothing is nothing. */
const local = (ms) => (/^\d{1,13}$/.test(ms) ? moment(Number(ms) / 1000).replace(" ", "T") : "");
const msOf = (text, more = 0) => (text ? String(new Date(text).getTime() + more) : "");

// Asking -----------------------------------------------------------------------------------------------------------

async function look() {
  clearTimeout(state.timer);
  const number = (state.asked += 1);
  const began = performance.now();
  try {
    if (!state.title) await begin();
    const { id, ...period } = shown;
    const words = new URLSearchParams(Object.entries(period).filter(([, value]) => value));
    const [items, chosen] = await Promise.all([
      ask(`/api/browse/items?${words}`), id ? ask(`/api/browse/charts?${new URLSearchParams({ id })}`) : null]);
    if (number !== state.asked) return;
    found();
    takeItems(items.data);
    byId("chosen").hidden = !chosen;
    state.isOpen = false;
    if (chosen) takeCharts(chosen.data, id);
  } catch (error) {
    if (number !== state.asked) return;
    lost(error instanceof TypeError ? "" : error.message);
  }
  if (isNewest() || state.isOpen || state.tries) {
    const took = performance.now() - began;
    state.timer = setTimeout(look, Math.max(AGAIN_MS, PATIENCE * took));
  }
}

async function begin() {
  const { data } = await ask("/api/browse");
  if (!data.title) throw new Error("This application has no such page.");
  Object.assign(state, { title: data.title, noun: data.noun, times: data.times });
  document.title = `${data.title} – ${data.name} – Thresher`;
  say(byId("name"), data.name);
  say(byId("items-title"), data.title);
  say(byId("times"), data.times ? `${data.times[0].toUpperCase()}${data.times.slice(1)} from` : "From");
  say(byId("within-name"), data.within);
  byId("within-label").hidden = !data.within;
  byId("back").hidden = !data.has_dashboard;
}

function found() {
  state.tries = 0;
  document.body.classList.remove("stale");
  say(byId("link"), "");
  badge(isNewest() ? "newest" : "period", isNewest() ? "ok" : "off");
}

function lost(why) {
  state.tries += 1;
  document.body.classList.add("stale");
  badge("not connected", "bad");
  say(byId("link"), `No answer${why ? `: ${why}` : ""}. Trying again.`);
}

function badge(text, tone) {
  say(byId("mode"), text);
  mark(byId("mode"), "class", `badge ${tone}`);
  mark(byId("newest"), "aria-pressed", String(isNewest()));
}

// The items --------------------------------------------------------------------------------------------------------

function takeItems({ items, empty, problem }) {
  const all = items?.items ?? [];
  state.items = items;
  show("problem", problem);
  show("empty", problem || all.length ? "" : [isNewest() && !shown.within ? `No ${state.noun} yet.` : `No ${state.noun} there.`, empty].filter(Boolean).join(" "));
  byId("rows").hidden = byId("tones").hidden = !all.length;
  say(byId("items-unit"), all.length ? summary(items) : "");
  show("note", items?.note ?? "");
  byId("older").hidden = (items?.older ?? null) === null;
  byId("next").hidden = !items?.next;
  dots.show(items, shown.id);
  table(items);
}

function summary({ items, y_title: title, unit }) {
  const times = items.map(({ at }) => at);
  const span = `${moment(Math.min(...times) / 1000)} to ${moment(Math.max(...times) / 1000)}`;
  return `${integer(items.length)} ${state.noun}; ${title} in ${unit}; ${[state.times, span].filter(Boolean).join(" ")}`;
}

function table(items) {
  const columns = items?.columns ?? [];
  keyed(byId("items").tHead.rows[0], columns, ([name]) => name, ([name, unit]) => h("th", { scope: "col", class: cell(unit) }, name));
  keyed(byId("items").tBodies[0], items?.items ?? [], ({ id }) => id, (item) => makeRow(item, columns), (child, { id, tone, cells }) => {
    mark(child, "class", id === shown.id ? "shown" : null);
    mark(child.querySelector(".swatch"), "class", `swatch ${TONES.find(([name]) => name === tone)?.[2] ?? "c3"}`);
    mark(child.querySelector("button"), "aria-pressed", String(id === shown.id));
    columns.forEach(([, unit], index) => say(index ? child.cells[index] : child.querySelector("button"), inUnit(cells[index], unit)));
  });
}

const cell = (unit) => (unit && unit !== "ms" ? "n" : null);

function makeRow({ id }, columns) {
  return h("tr", {}, ...columns.map(([, unit], index) => (index ? h("td", { class: cell(unit) })
    : h("td", {}, h("span", { class: "swatch", "aria-hidden": "true" }), h("button", { type: "button", onclick: () => choose(id) })))));
}

function choose(id) {
  shown.id = id;
  dots.show(state.items, id);
  table(state.items);
  state.wantsToSee = true;
  go({ id });
}

// The one that is chosen -------------------------------------------------------------------------------------------

function takeCharts({ charts: one, empty, problem }, id) {
  say(byId("chosen-title"), plain(one?.title ?? id));
  show("chosen-problem", problem || (one ? "" : `There is nothing of it.${empty ? ` ${empty}` : ""}`));
  state.isOpen = Boolean(one?.is_open);
  say(byId("chosen-unit"), one ? (one.is_open ? "more may come" : "complete") : "");
  keyed(byId("facts"), (one?.facts ?? []).filter(([, value]) => value !== null), ([name]) => name,
    ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (child, [, value, unit]) => say(child.querySelector("dd"), inUnit(value, unit)));
  keyed(byId("notes"), one?.notes ?? [], (note) => note, (note) => h("li", {}, note));
  const drawn = one?.charts ?? [];
  keyed(byId("charts"), drawn, (chart) => chart.title, makeChart);
  for (const chart of drawn) draw(chart);
  if (state.wantsToSee) byId("chosen").scrollIntoView({ block: "start" });
  state.wantsToSee = false;
  for (const title of [...charts.keys()]) if (!drawn.some((chart) => chart.title === title)) charts.delete(title);
}

function makeChart({ title, unit }) {
  const box = h("div", {});
  const isShare = unit === "ratio";
  charts.set(title, new Chart(box, {
    label: title, unit: isShare ? "per cent" : unit, format: (value) => inUnit(value, unit), axis: isShare ? (value) => inUnit(value, unit) : tick,
    least: isShare ? 0.001 : 1, least_s: 1, now: (at) => `${moment(at)}, the last one` }));
  return h("section", { class: "chart" }, h("h3", {}, `${title}${unit && !isShare ? `, ${unit}` : ""}`), h("p", { class: "empty" }, "Its lines do not say it."), box);
}

function draw({ title, unit, at, lines }) {
  const box = [...byId("charts").children].find((child) => child.dataset.key === title);
  const names = Object.keys(lines);
  box.querySelector(".empty").hidden = names.length > 0;
  box.lastElementChild.hidden = !names.length;
  charts.get(title).show(at.map((time) => time / 1000), names.map((name, index) => ({
    name, color: COLORS[index % COLORS.length], values: lines[name] })), unit === "ratio" ? "" : unit);
}

function show(id, text) {
  say(byId(id), plain(text));
  byId(id).hidden = !text;
}

// Asked for by hand ------------------------------------------------------------------------------------------------

byId("period").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ first: msOf(byId("first").value), last: msOf(byId("last").value, 999), within: byId("within").value.trim(), after: "" });
});
byId("newest").addEventListener("click", () => go({ first: "", last: "", after: "" }));
byId("older").addEventListener("click", () => go({ last: String(state.items.older) }));
byId("next").addEventListener("click", () => go({ after: state.items.next }));
addEventListener("hashchange", () => { readAddress(); look(); });

readAddress();
look();
