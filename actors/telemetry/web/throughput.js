// What has become of the records, per second, over the last ten minutes: what the monitor kept, and then what it sends.

import { Chart } from "./chart.js";

const KEPT_S = 600;
const MEAN_S = 5; // outcomes become durable in groups: what is drawn is the mean of so many seconds
const STEP_S = 0.9; // looks that are closer than this are part of the next point
/** Every record ends as one of these, so on one another they are what was read. */
const OUTCOMES = [["written", "c1"], ["folded", "c2"], ["filtered", "c3"], ["dead_lettered", "c4"]];

export class Throughput {
  constructor(box) {
    this.chart = new Chart(box, { label: "Throughput by outcome", unit: "records per second", isStacked: true });
    this.forget();
  }

  forget() {
    this.before = null;
    this.at = [];
    this.perS = new Map(OUTCOMES.map(([name]) => [name, []]));
  }

  /** Take the past: {at: […], per_s: {outcome: […]}}. */
  begin(history) {
    this.forget();
    this.at = [...history.at];
    for (const [name, values] of this.perS) values.push(...(history.per_s[name] ?? history.at.map(() => 0)));
    this.draw(new Set(Object.keys(history.per_s)));
  }

  /** Take a look at the run. */
  show(snapshot) {
    const before = this.before;
    if (before && snapshot.clock - before.clock < STEP_S) return;
    this.before = snapshot;
    if (!before || snapshot.at <= (this.at.at(-1) ?? 0)) return;
    const seconds = snapshot.clock - before.clock;
    this.at.push(snapshot.at);
    for (const [name, values] of this.perS) {
      values.push(Math.max(0, ((snapshot.outcomes[name] ?? 0) - (before.outcomes[name] ?? 0)) / seconds));
    }
    const old = this.at.findIndex((at) => at >= snapshot.at - KEPT_S);
    if (old > 0) for (const values of [this.at, ...this.perS.values()]) values.splice(0, old);
    this.draw(new Set(Object.keys(snapshot.outcomes)));
  }

  draw(known) {
    const shown = OUTCOMES.filter(([name]) => known.has(name) || this.perS.get(name).some((value) => value));
    this.chart.show(this.at, shown.map(([name, color]) => ({
      name: name.replace("_", " "), color, values: means(this.at, this.perS.get(name)) })));
  }
}

/** Each rate, which is that of the time since the one before, with those of the seconds before it. */
function means(at, values) {
  let [first, sum] = [0, 0];
  const lengths = at.map((time, index) => (index ? Math.min(MEAN_S, time - at[index - 1]) : 1));
  let length = 0;
  return values.map((value, index) => {
    sum += value * lengths[index];
    length += lengths[index];
    while (first < index && at[index] - at[first] >= MEAN_S) {
      sum -= values[first] * lengths[first];
      length -= lengths[first];
      first += 1;
    }
    return Math.max(0, sum / length);
  });
}
