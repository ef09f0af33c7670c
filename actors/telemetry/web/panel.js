// The application's own panel: bars, with a look back at earlier ones, or curves over time.

import { Chart } from "./chart.js";
import { ask, byId, h, mark, say } from "./dom.js";
import { clock, compact, tick } from "./format.js";

const d3 = globalThis.d3;
const AGAIN_MS = 2000;
const KEPT_S = 600;
const MARGIN = { top: 16, right: 8, left: 48 };
const HEIGHT = 260;
const WIDEST = 150; // of a bar with what is around it
const LETTER = 7.2; // pixels of a letter, about
const TITLE = 20; // pixels of the title of an axis
const COLORS = ["c1", "c4", "c2", "c3", "c5", "c6"];

export class Panel {
  constructor() {
    this.readAt = -Infinity;
    this.isReading = false;
    this.makeLookBack();
    new ResizeObserver(() => this.bars && this.draw()).observe(byId("panel"));
    this.forget();
  }

  forget() {
    this.kind = null;
    this.past = [];
    this.index = null; // which of the past is shown; null: the newest, whichever that is
    this.bars = this.curves = null;
    this.points = new Map();
    byId("panel").replaceChildren();
  }

  /** Ask for the drawing, now and then. */
  async show() {
    if (this.isReading || performance.now() - this.readAt < AGAIN_MS) return;
    this.isReading = true;
    this.readAt = performance.now();
    try {
      const { data } = await ask("/api/panel");
      this.take(data);
    } catch (error) {
      if (!byId("panel-card").hidden) this.problem(error.message);
    } finally {
      this.isReading = false;
    }
  }

  problem(text) {
    say(byId("panel-problem"), text);
    byId("panel-problem").hidden = !text;
  }

  take({ panel, past }) {
    byId("panel-card").hidden = !panel;
    document.body.classList.toggle("has-panel", Boolean(panel));
    if (!panel) return;
    say(byId("panel-title"), panel.title || "Panel");
    this.problem(panel.problem);
    byId("panel-empty").hidden = past.length > 0 || Boolean(panel.problem);
    const newest = past.at(-1)?.drawing;
    if (!newest) return;
    if (newest.type !== this.kind) this.forget();
    this.kind = newest.type;
    if (this.kind === "curves") this.takeCurves(past);
    else this.takeBars(past);
  }

  // Curves --------------------------------------------------------------------------------------------------------

  takeCurves(past) {
    byId("look-back").hidden = true;
    for (const { at, drawing } of past) this.points.set(at, drawing.values);
    const times = [...this.points.keys()].sort((a, b) => a - b);
    for (const at of times) if (at < times.at(-1) - KEPT_S) this.points.delete(at);
    const at = times.filter((time) => this.points.has(time));
    const { unit, values } = past.at(-1).drawing;
    say(byId("panel-unit"), unit);
    this.curves ??= new Chart(byId("panel"), { label: byId("panel-title").textContent });
    this.curves.show(at, Object.keys(values).map((name, index) => ({
      name, color: COLORS[index % COLORS.length], values: at.map((time) => this.points.get(time)[name] ?? 0) })), unit);
  }

  // Bars ----------------------------------------------------------------------------------------------------------

  makeLookBack() {
    const step = (by) => () => this.look((this.index ?? this.past.length - 1) + by);
    this.earlier = h("button", { type: "button", "aria-label": "Earlier", onclick: step(-1) }, "◀");
    this.later = h("button", { type: "button", "aria-label": "Later", onclick: step(1) }, "▶");
    this.slider = h("input", { type: "range", min: 0, value: 0, step: 1, "aria-label": "Which drawing" });
    this.slider.addEventListener("input", () => this.look(Number(this.slider.value)));
    this.which = h("output", {});
    byId("look-back").append(this.earlier, this.slider, this.later, this.which);
  }

  takeBars(past) {
    const shown = this.index === null ? null : this.past[this.index];
    this.past = past;
    if (shown) { // stay with what is looked at, as long as it is kept
      const which = (one) => one.drawing.label || one.at;
      const index = past.findIndex((one) => which(one) === which(shown));
      this.index = index < 0 ? 0 : index === past.length - 1 ? null : index;
    }
    this.bars ??= d3.select(byId("panel")).append("svg").attr("class", "bars").attr("role", "img");
    byId("look-back").hidden = past.length < 2;
    this.draw();
  }

  look(index) {
    const last = this.past.length - 1;
    this.index = index >= last ? null : Math.max(0, index);
    this.draw();
  }

  draw() {
    const last = this.past.length - 1;
    const now = this.index ?? last;
    const { drawing, at } = this.past[now];
    const label = drawing.label || clock(at);
    say(this.which, now === last ? "newest" : `${last - now} earlier`);
    say(byId("panel-unit"), [drawing.unit, label].filter(Boolean).join(", "));
    mark(this.slider, "max", last);
    this.slider.value = now;
    mark(this.slider, "aria-valuetext", label);
    this.earlier.disabled = now === 0;
    this.later.disabled = now === last;
    this.drawBars(drawing, label);
  }

  drawBars(drawing, label) {
    const width = byId("panel").clientWidth;
    if (!width) return;
    const { bars, unit } = drawing;
    const place = placed(drawing, width);
    const svg = this.bars.attr("width", width).attr("height", place.height)
      .attr("aria-label", `${label}: ${bars.map((bar, index) => said(drawing, bar, index)).join("; ")}`);
    this.drawAxes(svg, drawing, place, width);
    const groups = svg.selectAll("g.column").data(bars).join((enter) => {
      const group = enter.append("g").attr("class", "column");
      group.append("title");
      group.append("rect").attr("rx", 2);
      for (const name of ["inside", "below", "above"]) group.append("text").attr("class", name);
      return group;
    }).attr("transform", (_, index) => `translate(${place.x(index)},0)`);
    groups.raise().select("title").text((bar, index) => said(drawing, bar, index));
    const { x, y, bottom } = place;
    const top = ([, value]) => y(Math.max(0, value));
    groups.select("rect").attr("width", x.bandwidth()).attr("y", top).attr("height", (bar) => bottom - top(bar));
    const fits = (bar) => bottom - top(bar) > 18 && LETTER * bar[2].length < x.bandwidth();
    const isOut = (bar) => bar[2] && drawing.above.length && !fits(bar);
    groups.select(".inside").attr("x", x.bandwidth() / 2).attr("y", (bar) => top(bar) + (isOut(bar) ? -5 : 15)).attr("text-anchor", "middle")
      .classed("out", isOut).text((bar) => (fits(bar) || isOut(bar) ? bar[2] : ""));
    groups.select(".below").attr("text-anchor", place.slants ? "end" : "middle")
      .attr("transform", `translate(${x.bandwidth() / 2 + (place.slants ? 4 : 0)},${bottom + 16})${place.slants ? "rotate(-35)" : ""}`)
      .text(([name]) => short(name));
    groups.select(".above").attr("text-anchor", place.stands ? "start" : "middle")
      .attr("transform", (bar) => `translate(${x.bandwidth() / 2 + (place.stands ? 4 : 0)},${top(bar) - (isOut(bar) ? 21 : 6)})${place.stands ? "rotate(-90)" : ""}`)
      .text((_, index) => short(drawing.above[index] ?? ""));
  }

  drawAxes(svg, { bars, x_title: below, y_title: aside }, { x, y, bottom, left, height }, width) {
    const ticks = y.ticks(4).filter((tick) => Number.isInteger(tick) || y.domain()[1] > 8 || !bars.every(([, value]) => Number.isInteger(value)));
    svg.selectAll("g.axis").data([0]).join("g").attr("class", "axis").attr("transform", `translate(${left},0)`)
      .call(d3.axisLeft(y).tickValues(ticks).tickFormat(tick).tickSizeOuter(0));
    svg.selectAll("line.gridline").data(ticks).join("line").attr("class", "gridline")
      .attr("x1", left).attr("x2", width - MARGIN.right).attr("y1", y).attr("y2", y);
    const [from, to] = x.range();
    const titles = [[below, `translate(${(from + to) / 2},${height - 6})`], [aside, `translate(13,${(y.range()[1] + bottom) / 2})rotate(-90)`]];
    svg.selectAll("text.axis-title").data(titles).join("text").attr("class", "axis-title").attr("text-anchor", "middle")
      .attr("transform", ([, where]) => where).text(([title]) => title);
  }
}

/** Where everything of a drawing is, in so much width. */
function placed({ bars, above, x_title: below, y_title: aside }, width) {
  const left = MARGIN.left + (aside ? TITLE : 0);
  const room = width - left - MARGIN.right;
  const used = Math.min(room, WIDEST * Math.max(1, bars.length));
  const step = used / Math.max(1, bars.length);
  const longest = (names) => LETTER * Math.max(0, ...names.map((name) => short(name).length));
  const slants = longest(bars.map(([name]) => name)) > step - 4;
  const stands = longest(above) > step - 4; // what is above the bars is read from below then
  const isWide = longest(bars.map(([, , note]) => note)) > 0.7 * step; // then it is written on top of the highest bar, too
  const over = above.length ? (stands ? longest(above) : 4) + (isWide ? 15 : 0) : 0;
  const height = HEIGHT + (stands ? longest(above) : 0) + (below ? TITLE : 0);
  const bottom = height - (slants ? 74 : 26) - (below ? TITLE : 0);
  const start = left + (room - used) / 2;
  const x = d3.scaleBand(d3.range(bars.length), [start, start + used]).paddingInner(0.25).paddingOuter(0.1);
  const y = d3.scaleLinear([0, Math.max(1, d3.max(bars, ([, value]) => value) ?? 0)], [bottom, MARGIN.top + over]).nice(4);
  return { x, y, left, bottom, height, slants, stands };
}

const short = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);

/** A bar in words. */
function said({ above, unit, x_title: below }, [name, value, note], index) {
  if (!above.length) return `${name}: ${compact(value)} ${unit}${note && note !== compact(value) ? ` (${note})` : ""}`;
  return [`${below ? `${below} ` : ""}${name}: ${above[index]}`, `${compact(value)} ${unit}`, note].filter(Boolean).join(", ");
}
