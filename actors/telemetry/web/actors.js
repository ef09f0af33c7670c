// The table of actors, and those of stages and links.

import { bytes, compact, duration, integer, percent } from "./format.js";
import { h, keyed, mark, say } from "./dom.js";

const WORKING = new Set(["WORK", "WRITE"]); // phases in which an actor works
const OVER_S = 2; // rates are those of so many seconds at least

/** Set the cells of a row to texts; a cell is a text, or [text, class]. */
function fill(row, cells) {
  cells.forEach((cell, index) => {
    const [text, kind] = Array.isArray(cell) ? cell : [cell, null];
    say(row.cells[index], text);
    if (kind !== null) mark(row.cells[index], "class", kind);
  });
}

function makeRow(columns, left) {
  const cells = Array.from({ length: columns - 1 }, (_, index) => h("td", { class: left.has(index + 1) ? "" : "n" }));
  return h("tr", {}, h("th", { scope: "row" }), ...cells);
}

const STATES = { READY: "ok", BUSY: "busy", FATAL: "bad", STOPPED: "off" };

export class Actors {
  constructor() {
    this.rows = document.querySelector("#actors tbody");
    this.stages = document.querySelector("#stages tbody");
    this.edges = document.querySelector("#edges tbody");
    this.unit = document.getElementById("actors-unit");
    this.looks = [];
  }

  show({ snapshot, flow }) {
    this.looks.push(new Map(snapshot.actors.map((actor) => [actor.view.actor, { clock: snapshot.clock, actor }])));
    const clockOf = (look) => look.values().next().value?.clock ?? 0;
    while (this.looks.length > 2 && snapshot.clock - clockOf(this.looks[1]) >= OVER_S) this.looks.shift();
    say(this.unit, `${snapshot.actors.length} processes`);
    const left = new Set([1, 2, 11]);
    keyed(this.rows, snapshot.actors, (actor) => actor.view.actor, () => makeRow(12, left),
      (row, actor) => this.row(row, actor, snapshot.clock));
    this.tables(flow);
  }

  row(row, actor, clock) {
    const { view } = actor;
    const [cpu, busy] = this.rates(actor, clock);
    mark(row, "data-actor", view.actor);
    fill(row, [view.actor, [view.state, `state ${STATES[view.state] ?? "warn"}`], view.phase, integer(view.generation),
      [integer(actor.restarts), actor.restarts ? "n warn" : "n"], view.pid ? percent(cpu) : "–", bytes(view.rss_bytes), percent(busy),
      integer(view.queued), view.queued ? duration(view.waiting_s) : "–", view.pid ? String(view.pid) : "–", [view.note, view.note ? "note warn" : "note"]]);
  }

  /** Processor and busy time of this process since the oldest look that is kept, as parts of the time. */
  rates(actor, clock) {
    const before = this.looks[0].get(actor.view.actor);
    if (!before || before.actor.view.pid !== actor.view.pid || clock <= before.clock) return [null, null];
    const busy = ({ view }) => view.busy_s + (WORKING.has(view.phase) ? view.phase_s : 0);
    const part = (figure) => Math.max(0, figure(actor) - figure(before.actor)) / (clock - before.clock);
    return [part((one) => one.cpu_s), Math.min(1, part(busy))];
  }

  tables(flow) {
    keyed(this.stages, flow.stages, (stage) => stage.stage, () => makeRow(11, new Set()), (row, stage) => fill(row, [
      stage.stage, integer(stage.actors.length), compact(stage.records_per_s), compact(stage.batches_per_s), `${bytes(stage.bytes_per_s)}`,
      percent(stage.busy), percent(stage.starved), stage.cpu.toFixed(2), bytes(stage.rss_bytes), duration(stage.batch_p50_s),
      duration(stage.batch_p99_s)]));
    keyed(this.edges, flow.edges, (edge) => `${edge.source}>${edge.target}`, () => makeRow(6, new Set([1])), (row, edge) => fill(row, [
      edge.source, edge.target, compact(edge.records_per_s), compact(edge.batches_per_s), integer(edge.backlog),
      edge.credit === null ? "not needed" : integer(edge.credit)]));
  }
}
