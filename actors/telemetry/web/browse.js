// The page of an application's own: the items of a period to choose one of, and the charts of the one that is chosen.
//
//   /api/browse           once: what it is called
//   /api/browse/items     the items; again and again while the newest are shown
//   /api/browse/charts    the chosen one; again and again while more is to come
//
// What is shown is in the address, so that it can be sent to somebody else. When the connection is lost the last figures
// stay, and it is tried again.

import { Chart } from "./chart.js";
import { Dots } from "./dots.js";
import { ask, byId, h, keyed, mark, say } from "./dom.js";
import { inUnit, integer, moment, tick } from "./format.js";

const AGAIN_MS = 2000;
const PATIENCE = 4; // what takes long is asked for more seldom
const COLORS = ["c1", "c4", "c2", "c6"];

const state = { noun: "items", first: "", last: "", id: "", items: null, isOpen: false, timer: 0, tries: 0, asked: 0 };
const charts = new Map();
const dots = new Dots(byId("dots"), choose);

// What is shown, as the address says -------------------------------------------------------------------------------

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  [state.first, state.last, state.id] = ["first", "last", "id"].map((name) => said.get(name) ?? "");
  byId("first").value = local(state.first);
  byId("last").value = local(state.last);
}

function writeAddress() {
  const said = Object.entries({ first: state.first, last: state.last, id: state.id }).filter(([, value]) => value);
  history.replaceState(null, "", `#${new URLSearchParams(said)}`);
}

const isNewest = () => !state.first && !state.last;

/** ms since 1970 as an input of a time has it, and back; nothing is nothing. */
const local = (ms) => (ms ? moment(Number(ms) / 1000).replace(" ", "T") : "");
const ms = (text) => (text ? String(new Date(text).getTime()) : "");

// Asking -----------------------------------------------------------------------------------------------------------

async function look() {
  clearTimeout(state.timer);
  const number = (state.asked += 1);
  const began = performance.now();
  try {
    if (!state.title) await begin();
    const { first, last, id } = state;
    const period = new URLSearchParams(Object.entries({ first, last }).filter(([, value]) => value));
    const [items, chosen] = await Promise.all([
      ask(`/api/browse/items?${period}`), id ? ask(`/api/browse/charts?${new URLSearchParams({ id })}`) : null]);
    if (number !== state.asked) return;
    found();
    takeItems(items.data);
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
  Object.assign(state, { title: data.title, noun: data.noun, most: data.most });
  document.title = `${data.title} – ${data.name} – Thresher`;
  say(byId("name"), data.name);
  say(byId("items-title"), data.title);
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
  say(byId("link"), `Connection lost${why ? `: ${why}` : ""}. Trying again.`);
}

function badge(text, tone) {
  say(byId("mode"), text);
  mark(byId("mode"), "class", `badge ${tone}`);
  mark(byId("newest"), "aria-pressed", String(isNewest()));
}

// The items --------------------------------------------------------------------------------------------------------

function takeItems({ items, empty, problem }) {
  const rows = items?.rows ?? [];
  state.items = items;
  show("problem", problem);
  show("empty", problem || rows.length ? "" : isNewest() ? `No ${state.noun} yet.${empty ? ` ${empty}` : ""}`
    : `No ${state.noun} in this period.`);
  byId("rows").hidden = byId("tones").hidden = !rows.length;
  say(byId("items-unit"), rows.length ? summary(items) : "");
  dots.show(items, state.id);
  table(items);
}

function summary({ rows, more, span, y_title: title, unit }) {
  const number = `${integer(rows.length)} ${state.noun}`;
  const rest = more ? ` … and at least ${integer(more)} more, which are older: choose a shorter period` : "";
  return `${number}${rest}; ${title} in ${unit}, by when they began, ${moment(span[0] / 1000)} to ${moment(span[1] / 1000)}`;
}

function table(items) {
  const columns = items?.columns ?? [];
  keyed(byId("items").tHead.rows[0], columns, ([name]) => name, ([name, unit]) => h("th", { scope: "col", class: cell(unit) }, name));
  keyed(byId("items").tBodies[0], items?.rows ?? [], ([id]) => id, (row) => makeRow(row, columns), (child, row) => {
    mark(child, "class", `${row[3]}${row[0] === state.id ? " shown" : ""}`);
    mark(child.querySelector("button"), "aria-pressed", String(row[0] === state.id));
    columns.forEach(([, unit], index) => say(index ? child.cells[index] : child.querySelector("button"), inUnit(row[4][index], unit)));
  });
}

const cell = (unit) => (unit && unit !== "ms" ? "n" : null);

function makeRow([id], columns) {
  return h("tr", {}, ...columns.map(([, unit], index) => (index ? h("td", { class: cell(unit) })
    : h("td", {}, h("button", { type: "button", onclick: () => choose(id) })))));
}

function choose(id) {
  state.id = id;
  writeAddress();
  dots.show(state.items, id);
  table(state.items);
  look();
}

// The one that is chosen -------------------------------------------------------------------------------------------

function takeCharts({ charts: one, empty, problem }, id) {
  byId("chosen").hidden = false;
  say(byId("chosen-title"), one?.title ?? id);
  show("chosen-problem", problem || (one ? "" : `There is nothing of it.${empty ? ` ${empty}` : ""}`));
  state.isOpen = Boolean(one?.is_open);
  say(byId("chosen-unit"), one ? (one.is_open ? "more may come" : "complete") : "");
  keyed(byId("facts"), (one?.facts ?? []).filter(([, value]) => value !== null), ([name]) => name,
    ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (child, [, value, unit]) => say(child.querySelector("dd"), inUnit(value, unit)));
  keyed(byId("notes"), one?.notes ?? [], (note) => note, (note) => h("li", {}, note));
  const shown = one?.charts ?? [];
  keyed(byId("charts"), shown, (chart) => chart.title, makeChart);
  for (const chart of shown) draw(chart);
  for (const title of [...charts.keys()]) if (!shown.some((chart) => chart.title === title)) charts.delete(title);
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
  say(byId(id), text);
  byId(id).hidden = !text;
}

// Asked for by hand ------------------------------------------------------------------------------------------------

byId("period").addEventListener("submit", (event) => {
  event.preventDefault();
  [state.first, state.last] = [ms(byId("first").value), ms(byId("last").value)];
  writeAddress();
  look();
});
byId("newest").addEventListener("click", () => {
  [state.first, state.last] = ["", ""];
  byId("first").value = byId("last").value = "";
  writeAddress();
  look();
});
addEventListener("hashchange", () => { readAddress(); look(); });

readAddress();
look();
