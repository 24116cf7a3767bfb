// One problem: the question, what every method made of it, and the search trees of two methods.

const FIELDS = ["level", "opens", "kind", "visit", "value", "text", "note", "ending", "checked", "tokens", "bare",
  "observed"];
const MARKS = {
  "failed": "!", "chosen path": "●", "went back from here": "↩", "rejected": "✗", "duplicate": "=", "step": "○",
};
const MANY_ROWS = 150;
const CHECKED = { right: "", wrong: "first wrong step", after: "after a wrong step" };

function showProblem(problem, a, b) {
  const { id, question, reference, group } = PROBLEMS[problem];
  byId("problem").replaceChildren(
    steps(problem, a, b),
    el("h2", { tabindex: "-1" }, id, " ", el("span", { class: "faint" }, group)),
    el("p", { class: "whole" }, question),
    el("p", {}, el("b", {}, "Reference: "), el("span", { class: "whole" }, reference || "decided by tests")),
    everyMethod(problem, a, b),
    el("div", { class: "sides" }, side("A", problem, a, other => linkTo(problem, other, b)),
      side("B", problem, b, other => linkTo(problem, a, other))),
    legend());
  byId("problem").querySelector("h2").focus();
}

/** Links to the list, and to the problems before and after in the filtered list. */
function steps(problem, a, b) {
  const at = view.shown.indexOf(problem);
  const link = (name, other, key) => other === undefined
    ? el("span", { class: "faint" }, name) : el("a", { href: linkTo(other, a, b), "data-key": key }, name);
  return el("nav", {}, el("a", { href: "#", "data-key": "Escape" }, "← All problems"),
    link("Previous", view.shown[at - 1], "k"), link("Next", at < 0 ? undefined : view.shown[at + 1], "j"),
    el("span", { class: "faint" }, at < 0 ? "" : `${count(at + 1)} of ${count(view.shown.length)} in the list`));
}

function everyMethod(problem, a, b) {
  const rows = METHODS.flatMap(method => method.cells.map((run, n) => el("tr", {},
    el("th", { scope: "row" }, method.cells.length > 1 ? `${method.name}, seed ${run.seed}` : method.name),
    cell(resultText(run.results[problem]), { class: `text ${run.results[problem] === SOLVED ? "right" : "wrong"}` }),
    cell(run.answers[problem] ?? "none", { class: "text" }), cell(count(run.tokens[problem])),
    cell(n ? "" : [["A", method.number, b], ["B", a, method.number]].map(([name, newA, newB]) =>
      el("a", { href: linkTo(problem, newA, newB), "aria-label": `show ${method.name} as ${name}` }, name)),
    { class: "links" }))));
  return el("details", { open: METHODS.length <= 8 }, el("summary", {}, "All methods on this problem"),
    el("div", { class: "wide" },
      el("table", {}, heads(["method", "result|", "answer|", "policy tokens", "show as"]), el("tbody", {}, ...rows))));
}

function resultText(result) {
  return result === SOLVED ? "right" : result === MISSING ? "not run" : `wrong: ${DATA.causes[result]}`;
}

/** One method's tree. link: the address of the page with another method on this side. */
function side(name, problem, number, link) {
  const method = METHODS[number];
  const body = el("div", { class: "tree-body" });
  const names = METHODS.map((other, n) => [n, other.name]);
  const seeds = method.cells.map((run, n) => [n, `seed ${run.seed}`]);
  showTree(body, method, method.cells[0], problem);
  return el("section", { class: "side", "aria-label": `${name}: ${method.name}` },
    el("p", { class: "controls" },
      el("label", {}, el("b", {}, `${name} `), choice(names, number, other => { location.hash = link(other); })),
      seeds.length > 1 && choice(seeds, 0, n => showTree(body, method, method.cells[n], problem))),
    body);
}

async function showTree(body, method, run, problem) {
  body.replaceChildren(el("p", { class: "faint" }, "reading the tree …"));
  try {
    const tree = run.results[problem] === MISSING ? null : await treeOf(run, problem);
    body.replaceChildren(...(tree ? treeParts(tree, run.results[problem]) : absent(run, problem)));
  } catch (error) {
    body.replaceChildren(el("p", { class: "warning" }, `The tree cannot be read: ${error.message}`));
  }
}

function absent(run, problem) {
  if (run.results[problem] === MISSING) return [el("p", {}, "This method has no result of this problem.")];
  return [el("p", {}, "This tree is not in the file, to bound its size. To draw it:"),
    el("pre", {}, `python -m bench.tree '${run.trace}' --problem '${PROBLEMS[problem].id}'`)];
}

function treeParts(tree, result) {
  const rows = tree.rows.map(row => Object.fromEntries(FIELDS.map((field, n) => [field, row[n]])));
  const drawing = drawTree(rows);
  return [
    el("p", { class: `outcome ${result === SOLVED ? "right" : "wrong"}` },
      result === SOLVED ? "Solved." : tree.why || resultText(result)),
    facts(tree.head), drawing.controls, drawing.tree,
  ];
}

// -- the drawing ------------------------------------------------------------------------------------

/** The tree as a list of rows that can be folded, and the controls for it. */
function drawTree(rows) {
  nest(rows);
  const state = { copies: false, until: rows.length };
  rows.forEach(row => { row.folded = row.opens && row.inside.length > 0 && rows.length > MANY_ROWS; });
  const container = el("div", { class: "tree", role: "tree", "aria-label": "search tree", tabindex: "-1",
    onkeydown: event => walk(event, container, show) });
  function show(focused = null) {
    const visible = rows.filter(row => (state.copies || !row.bare) && row.visit <= state.until
      && !row.above.some(branch => branch.folded));
    container.replaceChildren(...visible.map(row => drawRow(row, show)));
    const target = focused?.element?.isConnected ? focused.element : container.firstElementChild;
    target?.setAttribute("tabindex", "0");
    if (focused) target?.focus();
  }
  show();
  return { tree: container, controls: treeControls(rows, state, show) };
}

/** Of each row the branches that it is in, and of each row that opens a branch those in it. */
function nest(rows) {
  let open = [];
  for (const row of rows) {
    open = open.filter(branch => branch.level < row.level || (branch.level === row.level && !row.opens));
    row.above = [...open];
    row.inside = [];
    open.forEach(branch => branch.inside.push(row));
    if (row.opens) open.push(row);
  }
}

function treeControls(rows, state, show) {
  const last = Math.max(0, ...rows.map(row => row.visit));
  state.until = last;
  const copies = rows.filter(row => row.bare).length;
  const folds = rows.filter(row => row.opens && row.inside.length);
  const shown = el("output", {}, `all ${count(last)}`);
  const slider = el("input", { type: "range", min: 1, max: last, value: last,
    "aria-label": "samples shown, in their order",
    oninput: event => {
      state.until = Number(event.target.value);
      shown.value = state.until === last ? `all ${count(last)}` : `the first ${count(state.until)} of ${count(last)}`;
      show();
    } });
  const fold = folded => () => { folds.forEach(row => { row.folded = folded; }); show(); };
  return el("p", { class: "controls" },
    last > 1 && el("label", {}, "samples ", slider, " ", shown),
    copies > 0 && el("label", {}, el("input", { type: "checkbox",
      onchange: event => { state.copies = event.target.checked; show(); } }), ` ${count(copies)} duplicates`),
    folds.length > 0 && el("button", { onclick: fold(true) }, "Fold branches"),
    folds.length > 0 && el("button", { onclick: fold(false) }, "Unfold"));
}

function drawRow(row, show) {
  const kind = DATA.kinds[row.kind];
  const foldable = Boolean(row.opens) && row.inside.length > 0;
  const element = el("div", {
    class: `node ${kind.replaceAll(" ", "-")}`, role: "treeitem", tabindex: "-1", "aria-level": row.level + 1,
    "aria-expanded": foldable ? String(!row.folded) : null, onclick: () => element.classList.toggle("whole-text"),
  },
    el("span", { class: "sign", title: kind }, MARKS[kind]),
    el("span", { class: "visit" }, `#${row.visit}`), bar(row.value),
    el("span", { class: "text" }, foldable && foldButton(row, show),
      el("span", { class: "words" }, row.text.trim() || "(blank)"), notes(row)),
    Boolean(row.observed?.trim()) && el("span", { class: "observed", title: "what the environment answered" },
      el("span", { class: "words" }, row.observed.trim())));
  element.style.setProperty("--level", row.level);
  element.row = row;
  row.element = element;
  return element;
}

function foldButton(row, show) {
  const text = row.folded ? `▸ ${count(row.inside.length)} more` : "▾";
  return el("button", { class: "fold", tabindex: "-1", "aria-label": row.folded ? "unfold" : "fold",
    onclick: event => { event.stopPropagation(); row.folded = !row.folded; show(row); } }, text);
}

function bar(value) {
  if (value === null) return el("span", { class: "value faint" }, "–");
  const filling = el("span", { class: "filling" });
  filling.style.inlineSize = `${100 * value}%`;
  return el("span", { class: "value", title: "P(the step is not wrong)" },
    el("span", { class: "bar" }, filling), count(value, 2));
}

function notes(row) {
  const found = [
    [row.note, row.ending ?? ""], [CHECKED[row.checked], row.checked ?? ""],
  ].filter(([text]) => text);
  return found.map(([text, look]) => el("span", { class: `note-tag ${look}` }, text));
}

/** Arrow keys in a tree, as in the ARIA pattern for trees. */
function walk(event, container, show) {
  const element = event.target.closest(".node");
  if (!element || event.altKey || event.ctrlKey || event.metaKey) return;
  const row = element.row;
  const nodes = [...container.children];
  const at = nodes.indexOf(element);
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: nodes.length - 1 };
  if (event.key in moves) focusNode(nodes, nodes[moves[event.key]]);
  else if (event.key === "ArrowRight" && row.folded) { row.folded = false; show(row); }
  else if (event.key === "ArrowLeft" && row.opens && row.inside.length && !row.folded) { row.folded = true; show(row); }
  else if (event.key === "ArrowLeft") focusNode(nodes, row.above.at(-1)?.element);
  else if (event.key === "Enter") element.classList.toggle("whole-text");
  else return;
  event.preventDefault();
}

function focusNode(nodes, target) {
  if (!target) return;
  nodes.forEach(node => node.setAttribute("tabindex", "-1"));
  target.setAttribute("tabindex", "0");
  target.focus();
}

function legend() {
  const marks = Object.entries(MARKS).map(([kind, sign]) =>
    el("span", { class: `node-key ${kind.replaceAll(" ", "-")}` }, el("span", { class: "sign" }, sign), ` ${kind}`));
  return el("p", { class: "note legend" }, ...marks,
    " The chosen path runs straight down; what was tried instead of a step is indented above it. # is the order of " +
    "sampling, the bar the reward model's P(the step is not wrong). Click a step for its whole text.");
}
