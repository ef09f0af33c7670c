// What benchmarks/ascp.py has measured, drawn: the old program against the new one, a batch against a stream, and how long
// a line takes to the store. The figures are those of its JSON, which is in the page; nothing is asked of anybody.

const d3 = globalThis.d3;
const measured = JSON.parse(document.getElementById("measured").textContent);
const LEFT = 8, RIGHT = 30, ROW = 62, BOTTOM = 26, HEIGHT = 260;
const COLORS = ["c1", "c3", "c2", "c6"];

const spread = (values) => ({ least: d3.min(values), median: d3.median(values), most: d3.max(values) });
const number = d3.format(",.0f");
const short = (value) => d3.format(".3~s")(value);
const seconds = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`);

// What there is ----------------------------------------------------------------------------------------------------

/** Rows of bars: a name, lines a second of each round, bytes a line. */
const rows = (rounds, names) => names.map(([key, name]) => ({
  name, ...spread(rounds.map((each) => each.lines / each[key])), bytes: d3.mean(rounds, (each) => each.bytes / each.lines) }));

const parsers = rows(measured.rounds, [["table", "one table"], ["regexes", `${measured.expressions} regexes`],
  ["regexes by kind", "regexes, by kind"]]);
const end = measured["end to end"] ?? [];
const stream = measured.stream ?? [];
const ways = [...(end.length ? rows(end, [["thresher", "batch: files"]]) : []),
  ...(stream.length ? rows(stream, [["seconds", "stream: TCP"]]) : []),
  ...(end.length ? rows(end, [["plain loop", "plain loop, files"]]) : [])];
const waits = stream.flatMap((each) => each.waits).sort(d3.ascending);

// Drawing ----------------------------------------------------------------------------------------------------------

function bars(id, all) {
  const box = document.getElementById(id);
  const height = ROW * all.length + BOTTOM;
  const svg = d3.select(box).append("svg").attr("height", height).attr("role", "img").attr("aria-label", all.map(
    ({ name, median }) => `${name}: ${number(median)} lines a second`).join("; "));
  const axis = svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - BOTTOM})`);
  const row = svg.selectAll("g.row").data(all).join("g").attr("class", "row").attr("transform", (_, index) => `translate(0,${ROW * index})`);
  row.append("text").attr("x", LEFT).attr("y", 14).attr("class", "ink name").text(({ name }) => name);
  row.append("rect").attr("class", (_, index) => COLORS[index % COLORS.length]).attr("x", LEFT).attr("y", 20).attr("height", 16);
  row.append("line").attr("class", "range").attr("y1", 28).attr("y2", 28);
  row.append("text").attr("class", "ink figure").attr("x", LEFT).attr("y", 51).text(({ median, least, most, bytes }) =>
    `${number(median)} lines/s (${number(least)} to ${number(most)}), ${(median * bytes / 1e6).toFixed(1)} MB/s`);
  new ResizeObserver(() => {
    const x = d3.scaleLinear([0, d3.max(all, ({ most }) => most)], [LEFT, box.clientWidth - RIGHT]).nice(4);
    svg.attr("width", box.clientWidth);
    row.select("rect").attr("width", ({ median }) => x(median) - LEFT);
    row.select(".range").attr("x1", ({ least }) => x(least)).attr("x2", ({ most }) => x(most));
    axis.call(d3.axisBottom(x).ticks(Math.max(2, Math.floor(box.clientWidth / 160))).tickFormat(short).tickSizeOuter(0));
  }).observe(box);
}

/** The share of lines that were in the store after so long. */
function shares(id, all) {
  const box = document.getElementById(id);
  const svg = d3.select(box).append("svg").attr("height", HEIGHT).attr("role", "img").attr("aria-label", "share of lines by their time to the store");
  const path = svg.append("path").attr("class", "line c1");
  const [below, left] = [svg.append("g").attr("class", "axis"), svg.append("g").attr("class", "axis")];
  const points = [[0, 0], ...all.map((wait, index) => [wait, (index + 1) / all.length])];
  new ResizeObserver(() => {
    const x = d3.scaleLinear([0, all.at(-1)], [48, box.clientWidth - RIGHT]).nice(4);
    const y = d3.scaleLinear([0, 1], [HEIGHT - BOTTOM, 10]);
    svg.attr("width", box.clientWidth);
    path.attr("d", d3.line(([wait]) => x(wait), ([, share]) => y(share)).curve(d3.curveStepAfter)(points));
    below.attr("transform", `translate(0,${HEIGHT - BOTTOM})`).call(d3.axisBottom(x).ticks(Math.max(2, Math.floor(box.clientWidth / 110))).tickFormat(seconds).tickSizeOuter(0));
    left.attr("transform", "translate(48,0)").call(d3.axisLeft(y).ticks(4).tickFormat(d3.format(".0%")).tickSizeOuter(0));
  }).observe(box);
}

// The page ---------------------------------------------------------------------------------------------------------

const say = (id, text) => { document.getElementById(id).textContent = text; };

say("machine", `${measured.machine}, Python ${measured.python}; ${measured.rounds.length} rounds, medians, from the least to the most`);
document.getElementById("same").className = measured.same ? "unit" : "problem";
say("same", measured.same ? "All values, keys and messages were compared: they are the same." : "What was made is NOT THE SAME.");
const ratios = spread(measured.rounds.map((each) => each.regexes / each.table));
say("parsers-said", `${ratios.median.toFixed(1)} times the regexes, round by round (${ratios.least.toFixed(1)} to ${ratios.most.toFixed(1)})`);
bars("parsers", parsers);
document.getElementById("ways-card").hidden = !ways.length;
if (ways.length) bars("ways", ways);
document.getElementById("waits-card").hidden = !waits.length;
if (waits.length) {
  say("waits-said", `at ${number(stream[0].rate)} lines/s: ${seconds(d3.quantile(waits, 0.5))} (median), 99 % within ${seconds(d3.quantile(waits, 0.99))}, most ${seconds(waits.at(-1))}`);
  shares("waits", waits);
}
