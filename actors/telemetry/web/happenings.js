// What has happened in the run, the newest first.

import { byId, h, keyed, say } from "./dom.js";
import { clock, moment } from "./format.js";

const KEPT = 200;
const TONES = { died: "bad", hung: "bad", suspect: "warn", outage: "warn", recovered: "ok", ready: "ok" };

export class Happenings {
  constructor() {
    this.forget();
  }

  forget() {
    this.all = new Map();
    this.draw();
  }

  /** Take happenings, some of which may be known. */
  take(some) {
    const before = this.all.size;
    for (const one of some) this.all.set(`${one.at} ${one.text}`, one);
    if (this.all.size !== before) this.draw();
  }

  draw() {
    const newest = [...this.all.entries()].sort(([, a], [, b]) => b.at - a.at).slice(0, KEPT);
    this.all = new Map(newest);
    byId("happenings-empty").hidden = newest.length > 0;
    keyed(byId("happenings"), newest, ([key]) => key, ([, one]) => h("li", {},
      h("time", { datetime: new Date(1000 * one.at).toISOString(), title: moment(one.at) }, clock(one.at)),
      h("span", { class: `kind ${TONES[one.kind] ?? ""}` }, one.kind), h("span", { class: "text" }, one.text)));
    say(byId("happenings-empty"), "Nothing yet.");
  }
}
