// Items of a period as dots: when they were, and how high they are; the nearest one is chosen by a click.

import { h } from "./dom.js";
import { inUnit, integer, moment, plain, tick, timeTick } from "./format.js";

const d3 = globalThis.d3;
const MARGIN = { top: 12, right: 16, bottom: 24, left: 48 };
const HEIGHT = 240;
const REACH = 24; // pixels from a dot that still choose it
export const TONES = [["ok", "complete", "c1"], ["open", "not seen to stop", "c6"], ["bad", "failed", "c4"]];

export class Dots {
  /** Args: box: where they are drawn; choose: is called with the id of one. */
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.items = null;
    this.svg = d3.select(box).append("svg").attr("height", HEIGHT).attr("role", "img").attr("class", "dots").style("display", "none");
    this.grid = this.svg.append("g").attr("class", "grid");
    this.below = this.svg.append("g").attr("class", "axis").attr("transform", `translate(0,${HEIGHT - MARGIN.bottom})`);
    this.left = this.svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`);
    this.dots = this.svg.append("g");
    this.svg.on("click", (event) => this.click(event));
    new ResizeObserver(() => this.draw()).observe(box);
    document.getElementById("tones").append(...TONES.map(([, name, color]) => h("li", {}, h("span", { class: `swatch ${color}` }), name)));
  }

  /** Show items, one of which is chosen. */
  show(items, id) {
    this.items = items;
    this.id = id;
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    const rows = (this.items?.items ?? []).filter(({ height }) => height !== null);
    this.svg.style("display", rows.length ? null : "none");
    if (!rows.length || !width) return;
    const [from, to] = d3.extent(rows, ({ at }) => at);
    const some = Math.max(5000, (to - from) / 50);
    this.x = d3.scaleTime([from - some, to + some], [MARGIN.left, width - MARGIN.right]);
    this.y = d3.scaleLinear([0, Math.max(1, d3.max(rows, ({ height }) => height))], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
    const ticks = this.y.ticks(4);
    this.svg.attr("width", width).attr("aria-label", this.said(rows));
    this.below.call(d3.axisBottom(this.x).ticks(Math.max(2, Math.floor(width / 120))).tickFormat(timeTick((to - from + 2 * some) / 1000)).tickSizeOuter(0));
    this.left.call(d3.axisLeft(this.y).tickValues(ticks).tickFormat(tick).tickSizeOuter(0));
    this.grid.selectAll("line").data(ticks).join("line").attr("x1", MARGIN.left).attr("x2", width - MARGIN.right).attr("y1", this.y).attr("y2", this.y);
    this.dots.selectAll("circle").data(rows, ({ id }) => id).join((enter) => {
      const dot = enter.append("circle");
      dot.append("title");
      return dot;
    }).attr("cx", ({ at }) => this.x(at)).attr("cy", ({ height }) => this.y(height)).attr("r", ({ id }) => (id === this.id ? 7 : 4.5))
      .attr("class", ({ id, tone }) => `dot-of ${tone}${id === this.id ? " shown" : ""}`)
      .select("title").text(({ id, at, height }) => `${plain(id)}: ${moment(at / 1000)}, ${inUnit(height, this.items.unit)}`);
    this.dots.selectAll(".shown").raise();
    this.rows = rows;
  }

  said(rows) {
    const [least, most] = d3.extent(rows, ({ height }) => height);
    return `${integer(rows.length)} dots: ${this.items.y_title} from ${inUnit(least, this.items.unit)} to ${inUnit(most, this.items.unit)}; the table below has them, too`;
  }

  click(event) {
    if (!this.rows) return;
    const [x, y] = d3.pointer(event, this.svg.node());
    const away = ({ at, height }) => Math.hypot(this.x(at) - x, this.y(height) - y);
    const nearest = d3.least(this.rows, away);
    if (nearest && away(nearest) <= REACH) this.choose(nearest.id);
  }
}
