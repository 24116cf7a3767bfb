// Accuracy against cost: one line a strategy, one point a budget, 95 % intervals, labels beside the picture.

const AXES = [
  ["total", "total tokens of a problem (PRM tokens by model size)"], ["policy", "policy tokens of a problem"],
  ["both", "policy and PRM tokens of a problem"], ["samples", "samples of a problem"],
  ["time", "seconds of a problem (median)"],
];
const COLOURS = 7;
const LABEL = 16;
const SHAPES = [
  (x, y) => svg("circle", { cx: x, cy: y, r: 4.5 }),
  (x, y) => svg("rect", { x: x - 4, y: y - 4, width: 8, height: 8 }),
  (x, y) => svg("path", { d: `M${x},${y} m0,-5.5 l5.5,9.5 h-11 z` }),
  (x, y) => svg("path", { d: `M${x},${y} m0,-5.5 l5.5,5.5 l-5.5,5.5 l-5.5,-5.5 z` }),
];

function costOf(method, axis) {
  if (axis === "both") return method.policy + method.prm;
  if (axis === "time") return method.seconds?.[0] ?? 0;
  return method[axis];
}

/** The axes on which every method has a cost. */
function axes() {
  return AXES.filter(([axis]) => METHODS.every(method => costOf(method, axis) > 0));
}

/** The methods of each strategy, from the cheapest on, with the look of their line. */
function linesOf(axis) {
  const names = [...new Set(METHODS.map(method => method.strategy))];
  return names.map((name, number) => ({
    name,
    look: METHODS.find(method => method.strategy === name).bound ? "bound" : `c${number % COLOURS}`,
    dashed: number >= COLOURS,
    shape: SHAPES[Math.floor(number / COLOURS + number) % SHAPES.length],
    methods: METHODS.filter(method => method.strategy === name)
      .sort((a, b) => costOf(a, axis) - costOf(b, axis)),
  }));
}

function drawChart(container, axis) {
  const lines = linesOf(axis);
  const width = Math.max(300, container.clientWidth);
  const longest = Math.max(...lines.map(line => line.name.length));
  const side = Math.min(8 * longest + 34, 0.45 * width);
  const height = Math.max(Math.min(420, 0.75 * width), LABEL * lines.length + 70);
  const frame = { left: 46, right: width - side, top: 12, bottom: height - 46 };
  const x = costScale(METHODS.map(method => costOf(method, axis)), frame);
  const y = accuracyScale(METHODS.flatMap(method => method.ci), frame);
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-labelledby": "h-chart",
  });
  picture.append(...grid(x, y, frame, axis), frontier(x, y, axis, frame));
  for (const line of lines) picture.append(drawLine(line, x, y, axis));
  picture.append(...labels(lines, x, y, axis, frame));
  container.replaceChildren(picture);
}

function costScale(costs, frame) {
  const low = Math.log(Math.min(...costs) / 1.15), high = Math.log(Math.max(...costs) * 1.15);
  const scale = cost => frame.left + (Math.log(cost) - low) / (high - low) * (frame.right - frame.left);
  const marks = [];
  for (let power = Math.floor(low / Math.LN10); power <= Math.ceil(high / Math.LN10); power += 1) {
    for (const step of [1, 1.5, 2, 3, 5, 7]) marks.push(step * 10 ** power);
  }
  scale.marks = spaced(marks.filter(mark => Math.log(mark) >= low && Math.log(mark) <= high), scale, 48);
  return scale;
}

/** Marks that are at least so many pixels apart. */
function spaced(marks, scale, gap) {
  const kept = [];
  for (const mark of marks) {
    if (!kept.length || scale(mark) - scale(kept.at(-1)) >= gap) kept.push(mark);
  }
  return kept;
}

function accuracyScale(bounds, frame) {
  const low = Math.max(0, Math.floor(10 * Math.min(...bounds)) / 10);
  const high = Math.min(1, Math.ceil(10 * Math.max(...bounds)) / 10);
  const scale = share => frame.bottom - (share - low) / (high - low) * (frame.bottom - frame.top);
  const step = high - low > 0.5 ? 0.2 : high - low > 0.2 ? 0.1 : 0.05;
  scale.marks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9; n += 1) scale.marks.push(n * step);
  return scale;
}

function grid(x, y, frame, axis) {
  const parts = [];
  for (const mark of y.marks) {
    parts.push(svg("path", { class: "gridline", d: `M${frame.left},${y(mark)} H${frame.right}` }));
    parts.push(svg("text", { x: frame.left - 6, y: y(mark) + 4, "text-anchor": "end" }, `${count(100 * mark)} %`));
  }
  for (const mark of x.marks) {
    parts.push(svg("path", { class: "gridline", d: `M${x(mark)},${frame.top} V${frame.bottom}` }));
    const text = mark < 10 ? String(Number(mark.toPrecision(2))) : count(mark);
    parts.push(svg("text", { x: x(mark), y: frame.bottom + 17, "text-anchor": "middle" }, text));
  }
  const name = `${AXES.find(([key]) => key === axis)[1]}, log scale`;
  parts.push(svg("text", { x: frame.left, y: frame.bottom + 37, class: "axis" }, name));
  return parts;
}

/** The best accuracy for at most each cost, as steps. */
function frontier(x, y, axis, frame) {
  const results = METHODS.filter(method => !method.bound).sort((a, b) => costOf(a, axis) - costOf(b, axis));
  let best = -1, path = "";
  for (const method of results) {
    if (method.accuracy <= best) continue;
    const at = x(costOf(method, axis));
    path += best < 0 ? `M${at},${y(method.accuracy)}` : `H${at} V${y(method.accuracy)}`;
    best = method.accuracy;
  }
  return svg("path", { class: "frontier", d: `${path} H${frame.right}` });
}

function drawLine(line, x, y, axis) {
  const group = svg("g", { class: `line ${line.look}` });
  const points = line.methods.map(method => [x(costOf(method, axis)), y(method.accuracy), method]);
  const path = points.map(([px, py], i) => `${i ? "L" : "M"}${px},${py}`).join(" ");
  group.append(svg("path", { class: line.dashed ? "joined dashed" : "joined", d: path }));
  for (const [px, py, method] of points) {
    const [low, high] = method.ci.map(y);
    const text = `${method.name}: ${percent(method.accuracy)} ${shares(method.ci)}, ` +
      `${figure(costOf(method, axis))} ${AXES.find(([key]) => key === axis)[1]}`;
    group.append(svg("g", { tabindex: 0, role: "img", "aria-label": text },
      svg("title", {}, text),
      svg("path", { class: "interval", d: `M${px},${low} V${high} M${px - 3},${low} h6 M${px - 3},${high} h6` }),
      line.shape(px, py)));
  }
  return group;
}

/** Names at the right edge, each as near to its last point as the others leave room for. */
function labels(lines, x, y, axis, frame) {
  const ends = lines.map(line => {
    const last = line.methods.at(-1);
    return { line, x: x(costOf(last, axis)), y: y(last.accuracy) };
  });
  ends.sort((a, b) => a.y - b.y);
  apart(ends, frame.top, frame.bottom);
  return ends.map(end => svg("g", { class: `label ${end.line.look}` },
    svg("path", { class: "leader", d: `M${end.x + 7},${end.y} L${frame.right + 2},${end.at} h8` }),
    end.line.shape(frame.right + 16, end.at),
    svg("text", { x: frame.right + 25, y: end.at + 4 }, end.line.name)));
}

/** Give each end a place `at` near its `y`, so that no two are nearer than a line of text. */
function apart(ends, top, bottom) {
  let free = top;
  for (const end of ends) {
    end.at = Math.max(end.y, free);
    free = end.at + LABEL;
  }
  free = bottom;
  for (const end of [...ends].reverse()) {
    end.at = Math.min(end.at, free);
    free = end.at - LABEL;
  }
}
