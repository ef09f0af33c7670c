// The data flow as a picture: who sends to whom, how much, what waits where, who is busy.

import { bytes, compact, duration, integer, percent } from "./format.js";
import { layout } from "./layout.js";

const d3 = globalThis.d3;
const UP = new Set(["READY", "BUSY"]);

/** The worst that is true of a stage: "bad" (nobody is up), "warn" (somebody is not), "busy", "ok" or "off". */
export function health(members) {
  if (!members.length) return "off";
  const up = members.filter((view) => UP.has(view.state));
  if (members.some((view) => view.state === "FATAL")) return "bad";
  if (members.every((view) => view.state === "STOPPED")) return "off";
  if (!up.length) return members.every((view) => view.state === "BACKOFF") ? "bad" : "warn";
  if (up.length < members.length || members.some((view) => view.note)) return "warn";
  return up.some((view) => view.state === "BUSY") ? "busy" : "ok";
}

/** What is written under a stage's name. */
function condition(members) {
  const down = members.filter((view) => !UP.has(view.state));
  if (down.length && members.length > 1) return `${members.length - down.length} of ${members.length} up`;
  if (down.length) return down[0].state;
  if (members.some((view) => view.note)) return "waits";
  return "";
}

export class Topology {
  constructor(box) {
    this.box = box;
    this.svg = d3.select(box).append("svg").attr("role", "img").attr("class", "topology");
    this.links = this.svg.append("g").attr("class", "links");
    this.nodes = this.svg.append("g");
    this.labels = this.svg.append("g").attr("class", "labels");
    this.status = null;
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(status) {
    this.status = status;
    this.draw();
  }

  draw() {
    if (!this.status || !this.box.clientWidth) return;
    const { flow, snapshot } = this.status;
    const placed = layout(flow.stages, flow.edges, this.box.clientWidth);
    const views = new Map(snapshot.actors.map((actor) => [actor.view.actor, actor.view]));
    this.svg.attr("width", placed.width).attr("height", placed.height).attr("aria-label", describe(flow));
    this.drawLinks(placed);
    this.drawNodes(placed, flow, views);
    this.drawLabels(placed, flow.edges);
  }

  drawLinks(placed) {
    const most = d3.max(placed.links, (link) => link.edge.records_per_s) || 0;
    const wide = d3.scaleSqrt().domain([0, Math.max(1, most)]).range([1.5, 9]);
    this.links.selectAll("path").data(placed.links, (link) => `${link.edge.source}>${link.edge.target}`)
      .join((enter) => enter.append("path").call((path) => path.append("title")))
      .attr("d", (link) => link.path)
      .attr("stroke-width", (link) => wide(link.edge.records_per_s))
      .attr("class", (link) => (link.edge.batches_per_s ? "link" : "link still"))
      .select("title").text((link) => `${link.edge.source} to ${link.edge.target}: ${compact(link.edge.records_per_s)} records/s, `
        + `${compact(link.edge.batches_per_s)} batches/s`);
  }

  drawNodes(placed, flow, views) {
    const limit = flow.bottleneck.stage;
    const nodes = this.nodes.selectAll("g.node").data(flow.stages, (stage) => stage.stage).join((enter) => {
      const node = enter.append("g");
      node.append("title");
      node.append("rect").attr("class", "frame").attr("rx", 6);
      node.append("circle").attr("class", "dot").attr("r", 4.5).attr("cx", 15).attr("cy", 18);
      for (const name of ["name", "tag", "rate", "busy"]) node.append("text").attr("class", name);
      node.append("rect").attr("class", "bar").attr("rx", 2);
      node.append("rect").attr("class", "filled").attr("rx", 2);
      return node;
    });
    const members = (stage) => stage.actors.map((name) => views.get(name)).filter(Boolean);
    const box = (stage) => placed.nodes.get(stage.stage);
    const inner = (stage) => box(stage).width - 24;
    nodes.attr("transform", (stage) => `translate(${box(stage).x},${box(stage).y})`)
      .attr("class", (stage) => `node ${health(members(stage))}${stage.stage === limit ? " limit" : ""}`)
      .attr("data-stage", (stage) => stage.stage);
    nodes.select("title").text((stage) => hint(stage, members(stage)));
    nodes.select(".frame").attr("width", (stage) => box(stage).width).attr("height", (stage) => box(stage).height);
    nodes.select(".name").attr("x", 26).attr("y", 22).text((stage) => {
      const many = stage.actors.length > 1 ? ` × ${stage.actors.length}` : "";
      const room = (inner(stage) - 14 - (stage.stage === limit ? 34 : 0)) / 7.8 - many.length;
      return short(stage.stage, Math.floor(room)) + many;
    });
    nodes.select(".rate").attr("x", 12).attr("y", 43).text((stage) => rate([stage]));
    nodes.select(".busy").attr("x", (stage) => box(stage).width - 12).attr("y", 43).attr("text-anchor", "end")
      .text((stage) => condition(members(stage)) || `busy ${percent(stage.busy)}`);
    nodes.select(".tag").attr("x", (stage) => box(stage).width - 12).attr("y", 22).attr("text-anchor", "end")
      .text((stage) => (stage.stage === limit ? "limit" : ""));
    nodes.select(".bar").attr("x", 12).attr("y", 52).attr("height", 5).attr("width", inner);
    nodes.select(".filled").attr("x", 12).attr("y", 52).attr("height", 5)
      .attr("width", (stage) => inner(stage) * Math.min(1, Math.max(0, stage.busy)));
  }

  drawLabels(placed, edges) {
    const into = d3.group(edges, (edge) => edge.target);
    this.labels.selectAll("text").data(placed.labels, (label) => label.target)
      .join((enter) => enter.append("text").call((text) => { text.append("tspan"); text.append("tspan").attr("class", "second"); }))
      .attr("data-target", (label) => label.target)
      .attr("text-anchor", (label) => label.anchor)
      .each(function write(label) {
        const some = into.get(label.target) ?? [];
        const text = d3.select(this);
        const [first, second] = text.selectAll("tspan").nodes().map((node) => d3.select(node));
        first.attr("x", label.x).attr("y", label.y - (placed.isNarrow ? 3 : 9)).text(rate(some));
        second.attr("x", label.x).attr("y", label.y + (placed.isNarrow ? 12 : 19)).text(waiting(some));
      });
  }
}

/** Records a second; where they are not counted (a parser that only passes on), batches. */
function rate(some) {
  const records = d3.sum(some, (one) => one.records_per_s);
  const batches = d3.sum(some, (one) => one.batches_per_s);
  return batches && !records ? `${compact(batches)} batches/s` : `${compact(records)}/s`;
}

/** What waits at the target, and what it would still take: "backlog 3, credit 5". */
function waiting(edges) {
  const backlog = `backlog ${integer(d3.max(edges, (edge) => edge.backlog))}`;
  const credits = edges.filter((edge) => edge.credit !== null);
  return credits.length ? `${backlog}, credit ${integer(d3.sum(credits, (edge) => edge.credit))}` : backlog;
}

const short = (name, length) => (name.length > length ? `${name.slice(0, length - 1)}…` : name);

function hint(stage, members) {
  return [stage.stage, `${stage.actors.length} process${stage.actors.length === 1 ? "" : "es"}: ${members.map((view) => `${view.actor} ${view.state}`).join(", ")}`,
    `busy ${percent(stage.busy)}, waits for credit ${percent(stage.starved)}, ${stage.cpu.toFixed(2)} cores, ${bytes(stage.rss_bytes)}`,
    `${stage.queued} batches wait, the oldest for ${duration(stage.waiting_s)}`,
    `half of the batches took at most ${duration(stage.batch_p50_s)}, 99 % at most ${duration(stage.batch_p99_s)}`].join("\n");
}

function describe(flow) {
  const rates = flow.stages.map((stage) => `${stage.stage} ${compact(stage.records_per_s)} records/s, busy ${percent(stage.busy)}`);
  return `Data flow. ${rates.join("; ")}. The tables below say the same.`;
}
