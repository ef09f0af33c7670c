// How far the run is behind its source: one figure, and a row for each of the partitions that are furthest behind.

import { byId, h, keyed, mark, say } from "./dom.js";
import { duration, integer } from "./format.js";

const ROWS = 50;
const OLD_S = 5; // it is looked at about once a second

/** `lag`: as in the status; null: the source knows of none. */
export function showLag(lag) {
  byId("lag-figure").hidden = !lag;
  byId("partitions-box").hidden = !lag;
  if (!lag) return;
  const isOld = lag.age_s > OLD_S;
  say(byId("lag"), isOld ? `unknown (${integer(lag.records)}, ${duration(lag.age_s)} ago)` : integer(lag.records));
  mark(byId("lag"), "class", isOld ? "warn" : null);
  mark(byId("lag"), "title", `records, in ${integer(lag.partitions)} partitions`);
  keyed(document.querySelector("#partitions tbody"), lag.worst.slice(0, ROWS), (each) => each.name,
    (each) => h("tr", {}, h("th", { scope: "row" }, each.name), h("td", { class: "n" })),
    (row, each) => say(row.lastElementChild, integer(each.records)));
}
