// Figures over time: areas on one another (parts of a whole), or lines. With a cursor, by mouse and by keyboard.

import { clock, compact, tick, timeTick } from "./format.js";
import { h, keyed, mark, say } from "./dom.js";

const d3 = globalThis.d3;
const MARGIN = { top: 10, right: 26, bottom: 24, left: 48 };
const HEIGHT = 260;

/**
 * Args:
 *   box: where it is drawn.
 *   options: label (what is said of it), unit, isStacked; how a figure (format) and one of the axis (axis) is written,
 *     the least height of the axis (least), the shortest time (least_s), what the newest moment is called (now).
 */
export class Chart {
  constructor(box, { label, unit = "", isStacked = false, format = compact, axis = tick, least = 1, least_s = 30, now = () => "now" }) {
    this.box = box;
    this.label = label;
    this.unit = unit;
    this.isStacked = isStacked;
    Object.assign(this, { format, axis, least, least_s, now });
    this.at = [];
    this.series = [];
    this.cursor = null; // a time; null: the newest
    this.frame = h("div", { class: "plot", tabindex: 0, role: "slider", "aria-label": `${label}: moment`, "aria-orientation": "horizontal" });
    this.legend = h("ul", { class: "legend" });
    box.append(this.frame, this.legend);
    const svg = d3.select(this.frame).append("svg").attr("height", HEIGHT).attr("aria-hidden", "true");
    this.svg = svg;
    this.grid = svg.append("g").attr("class", "grid");
    this.marks = svg.append("g");
    this.below = svg.append("g").attr("class", "axis");
    this.left = svg.append("g").attr("class", "axis");
    this.rule = svg.append("line").attr("class", "rule").attr("y1", MARGIN.top).attr("y2", HEIGHT - MARGIN.bottom);
    this.frame.addEventListener("pointermove", (event) => this.point(event));
    this.frame.addEventListener("pointerleave", () => this.move(null));
    this.frame.addEventListener("keydown", (event) => this.key(event));
    this.frame.addEventListener("blur", () => this.move(null));
    new ResizeObserver(() => this.draw()).observe(this.frame);
  }

  /** Show figures: times in seconds since 1970, and [{name, color, values}] as long as them. */
  show(at, series, unit = this.unit) {
    this.at = at;
    this.series = series;
    this.unit = unit;
    this.draw();
  }

  draw() {
    const width = this.frame.clientWidth;
    if (!width) return;
    const newest = this.at.at(-1) ?? Date.now() / 1000;
    const oldest = Math.min(this.at[0] ?? newest, newest - this.least_s);
    this.x = d3.scaleTime([1000 * oldest, 1000 * newest], [MARGIN.left, width - MARGIN.right]);
    const stack = this.isStacked ? this.stacked() : null;
    const most = stack ? d3.max(stack.at(-1) ?? [], (point) => point[1]) : d3.max(this.series, (each) => d3.max(each.values));
    const y = d3.scaleLinear([0, Math.max(most || 0, this.least)], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
    this.svg.attr("width", width);
    this.axes(y, width, newest - oldest);
    const path = stack ? this.areas(stack, y) : this.lines(y);
    this.marks.selectAll("path").data(this.series, (each) => each.name).join("path")
      .attr("class", (each) => `${stack ? "area" : "line"} ${each.color}`).attr("d", (each, index) => path(index));
    this.read();
  }

  axes(y, width, span) {
    const bottom = HEIGHT - MARGIN.bottom;
    this.below.attr("transform", `translate(0,${bottom})`)
      .call(d3.axisBottom(this.x).ticks(Math.max(2, Math.floor(width / 110))).tickFormat(timeTick(span)).tickSizeOuter(0));
    this.left.attr("transform", `translate(${MARGIN.left},0)`).call(d3.axisLeft(y).ticks(4).tickFormat(this.axis).tickSizeOuter(0));
    this.grid.selectAll("line").data(y.ticks(4)).join("line").attr("x1", MARGIN.left).attr("x2", width - MARGIN.right).attr("y1", y).attr("y2", y);
  }

  stacked() {
    const sums = new Array(this.at.length).fill(0);
    return this.series.map((each) => each.values.map((value, index) => {
      const from = sums[index];
      sums[index] += value;
      return [from, sums[index]];
    }));
  }

  areas(stack, y) {
    const area = d3.area().x((_, index) => this.x(1000 * this.at[index])).y0((point) => y(point[0])).y1((point) => y(point[1]));
    return (index) => area(stack[index]);
  }

  lines(y) {
    const line = d3.line().defined((value) => value !== null).x((_, index) => this.x(1000 * this.at[index])).y((value) => y(value));
    return (index) => line(this.series[index].values);
  }

  point(event) {
    if (!this.x || !this.at.length) return;
    const [x] = d3.pointer(event, this.frame);
    const at = this.x.invert(x) / 1000;
    const index = d3.bisectCenter(this.at, at);
    this.move(this.at[index]);
  }

  key(event) {
    const last = this.at.length - 1;
    if (last < 0) return;
    const now = this.cursor === null ? last : d3.bisectCenter(this.at, this.cursor);
    const next = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageUp: now + 30, PageDown: now - 30,
      Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.move(null);
    if (next === undefined) return;
    event.preventDefault();
    this.move(this.at[Math.max(0, Math.min(last, next))]);
  }

  move(at) {
    this.cursor = at;
    this.read();
  }

  /** Write the figures of the cursor's moment. */
  read() {
    const index = this.cursor === null ? this.at.length - 1 : d3.bisectCenter(this.at, this.cursor);
    const at = this.at[index];
    const shows = this.cursor !== null && at !== undefined && this.x;
    this.rule.attr("visibility", shows ? "visible" : "hidden");
    if (shows) this.rule.attr("x1", this.x(1000 * at)).attr("x2", this.x(1000 * at));
    const items = [{ name: "", text: at === undefined ? "no figures yet" : this.cursor === null ? this.now(at) : clock(at) },
      ...this.series.map((each) => ({ ...each, text: this.format(each.values[index]) }))];
    keyed(this.legend, items, (item) => item.name, (item) => h("li", { class: item.name ? "" : "moment" }, ...(item.name
      ? [h("span", { class: `swatch ${item.color}` }), h("span", {}, item.name), h("b")] : [h("b")])),
    (child, item) => say(child.querySelector("b"), item.text));
    mark(this.frame, "aria-valuemin", 0);
    mark(this.frame, "aria-valuemax", Math.max(0, this.at.length - 1));
    mark(this.frame, "aria-valuenow", Math.max(0, index));
    const figures = this.series.map((each) => `${each.name} ${this.format(each.values[index])}`).join(", ");
    mark(this.frame, "aria-valuetext", at === undefined ? "no figures yet" : `${clock(at)}: ${figures} ${this.unit}`);
  }
}
