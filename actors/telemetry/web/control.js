// What may be asked of the run from here, when its monitor allows it: other numbers of workers, a reload, a stop.

import { ask, byId, h, keyed, mark, say } from "./dom.js";

const POOLS = new Set(["parser", "checker"]);
const MOST_WORKERS = 64;

export class Control {
  constructor() {
    this.box = byId("control");
    this.pools = h("span", { class: "pools" });
    this.reload = h("button", { type: "button", onclick: () => this.send("reload", {}) }, "Reload configuration");
    this.stop = h("button", { type: "button", class: "danger", onclick: () => this.confirm() }, "Stop…");
    this.box.append(this.pools, this.reload, this.stop);
    byId("sure").addEventListener("close", () => {
      if (byId("sure").returnValue === "yes") this.send("stop", {});
    });
  }

  allow(isAllowed) {
    this.box.hidden = !isAllowed;
  }

  show({ flow, snapshot }) {
    const isRunning = snapshot.mode === "running" || snapshot.mode === "starting";
    for (const button of [this.reload, this.stop]) button.disabled = !isRunning;
    const pools = flow.stages.filter((stage) => POOLS.has(stage.stage));
    keyed(this.pools, pools, (stage) => stage.stage, (stage) => this.makePool(stage.stage), (child, stage) => {
      const workers = stage.actors.length;
      mark(child, "data-workers", workers);
      say(child.querySelector("output"), workers);
      const [less, more] = child.querySelectorAll("button");
      less.disabled = !isRunning || workers <= 1;
      more.disabled = !isRunning || workers >= MOST_WORKERS;
    });
  }

  /** What was asked of the run before is no news of this one. */
  forget() {
    say(byId("answer"), "");
  }

  /** The supervisor may not refuse what is gone already: nothing is to be clicked when the run is. */
  disable() {
    for (const button of this.box.querySelectorAll("button")) button.disabled = true;
  }

  makePool(pool) {
    const scale = (by) => () => this.send("scale", { pool, workers: Number(child.dataset.workers) + by });
    const child = h("span", { class: "pool", role: "group", "aria-label": `${pool} workers` }, h("span", {}, `${pool}s`),
      h("button", { type: "button", "aria-label": `One ${pool} less`, onclick: scale(-1) }, "−"), h("output", {}),
      h("button", { type: "button", "aria-label": `One ${pool} more`, onclick: scale(1) }, "+"));
    return child;
  }

  confirm() {
    byId("sure").returnValue = "";
    byId("sure").showModal();
  }

  async send(verb, body) {
    say(byId("answer"), `${verb} …`);
    try {
      const { data } = await ask(`/api/${verb}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      say(byId("answer"), data.text);
    } catch (error) {
      say(byId("answer"), `${verb}: ${error.message}`);
    }
  }
}
