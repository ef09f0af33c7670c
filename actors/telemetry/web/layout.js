// Where the stages of a run are drawn, and their links. Pure: figures in, coordinates out.
//
//   wide     reader ──▶ parsers ──▶ shards, writers ──▶ …     a column for each step of the way
//   narrow   reader                                           a row for each stage, moved in by its step;
//             └▶ parsers                                      links are elbows on the left
//                 └▶ writer

const NODE = { least: 136, most: 216, height: 66 };
const GAP = { row: 16, least: 146 };
const NARROW = { below: 640, step: 20, row: 40 };

/** The step of each stage: the length of the longest way to it. */
export function steps(stages, edges) {
  const at = new Map(stages.map((stage) => [stage.stage, 0]));
  for (let round = 0; round < stages.length; round += 1) {
    for (const edge of edges) {
      if (at.has(edge.source) && at.has(edge.target)) at.set(edge.target, Math.max(at.get(edge.target), at.get(edge.source) + 1));
    }
  }
  return at;
}

/** {width, height, isNarrow, nodes: Map(stage -> {x, y, width, height}), links: [{edge, path}], labels: [{target, x, y, anchor}]}. */
export function layout(stages, edges, width) {
  const at = steps(stages, edges);
  const known = edges.filter((edge) => at.has(edge.source) && at.has(edge.target));
  return width < NARROW.below ? narrow(stages, known, at, width) : wide(stages, known, at, width);
}

function wide(stages, edges, at, width) {
  const columns = [];
  for (const stage of stages) (columns[at.get(stage.stage)] ??= []).push(stage.stage);
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const each = Math.max(NODE.least, Math.min(NODE.most, (width - 2 - (columns.length - 1) * GAP.least) / columns.length));
  const gap = columns.length > 1 ? Math.max(GAP.least, (width - columns.length * each - 2) / (columns.length - 1)) : 0;
  const height = tallest * (NODE.height + GAP.row) - GAP.row + 4;
  const nodes = new Map();
  columns.forEach((column, step) => {
    const top = (height - column.length * (NODE.height + GAP.row) + GAP.row) / 2;
    column.forEach((stage, row) => nodes.set(stage, {
      x: 1 + step * (each + gap), y: top + row * (NODE.height + GAP.row), width: each, height: NODE.height }));
  });
  const links = edges.map((edge) => {
    const from = nodes.get(edge.source);
    const to = nodes.get(edge.target);
    const [x, y, end, down] = [from.x + from.width, from.y + from.height / 2, to.x, to.y + to.height / 2];
    const bend = (end - x) * 0.3; // most of the way is straight, before its target, where the figures stand
    return { edge, path: `M${x},${y}C${x + bend},${y} ${x},${down} ${x + bend},${down}H${end}` };
  });
  const labels = targets(edges).map((target) => {
    const to = nodes.get(target);
    return { target, x: to.x - 8, y: to.y + to.height / 2, anchor: "end" };
  });
  const used = columns.length * (each + gap) - gap + 2;
  return { width: Math.max(width, used), height, isNarrow: false, nodes, links, labels };
}

function narrow(stages, edges, at, width) {
  const order = stages.map((stage) => stage.stage).sort((a, b) => at.get(a) - at.get(b)); // stable
  const nodes = new Map(order.map((stage, row) => {
    const x = 1 + at.get(stage) * NARROW.step;
    return [stage, { x, y: 1 + row * (NODE.height + NARROW.row), width: Math.max(150, width - x - 2), height: NODE.height }];
  }));
  const links = edges.map((edge) => {
    const from = nodes.get(edge.source);
    const to = nodes.get(edge.target);
    const x = from.x + NARROW.step / 2;
    return { edge, path: `M${x},${from.y + from.height}V${to.y + to.height / 2}H${to.x}` };
  });
  const labels = targets(edges).map((target) => {
    const to = nodes.get(target);
    return { target, x: to.x + 8, y: to.y - NARROW.row / 2, anchor: "start" };
  });
  return { width, height: order.length * (NODE.height + NARROW.row) - NARROW.row + 2, isNarrow: true, nodes, links, labels };
}

const targets = (edges) => [...new Set(edges.map((edge) => edge.target))];
