// The list of problems: two methods beside each other, filters, search.

const PAGE_ROWS = 100;
const view = { a: DATA.best, b: 0, relation: "all", cause: "", group: "", text: "", order: "given", shown: [] };
view.b = METHODS[view.a].versus?.base ?? METHODS.findIndex(method => method.number !== view.a);
if (view.b < 0) view.b = view.a;

const RELATIONS = {
  all: ["all", () => true],
  a: ["A, not B", (a, b) => a.share > b.share],
  b: ["B, not A", (a, b) => b.share > a.share],
  both: ["both", (a, b) => a.share === b.share && a.share > 0],
  neither: ["neither", (a, b) => a.share === b.share && a.share === 0],
  others: ["not A, another", (a, b, i) => a.share === 0 && solvers(i) > 0],
  none: ["no method", (a, b, i) => solvers(i) === 0],
};
const ORDERS = {
  given: ["as in the data", () => 0],
  hard: ["hardest first", (i, j) => solvers(i) - solvers(j)],
  costly: ["most tokens of A first", (i, j) => tokensOf(METHODS[view.a], j) - tokensOf(METHODS[view.a], i)],
};

/** How many methods solve a problem, with at least one of their seeds. */
function solvers(problem) {
  return METHODS.filter(method => !method.bound && solved(method, problem).right > 0).length;
}

function tokensOf(method, problem) {
  return method.cells.reduce((sum, cell) => sum + cell.tokens[problem], 0) / method.cells.length;
}

/** Whether a problem passes every filter but that on who solves it. */
function passes(problem) {
  const { question, id, reference, group } = PROBLEMS[problem];
  if (view.group && group !== view.group) return false;
  if (view.cause && !causes(METHODS[view.a], problem).includes(view.cause)) return false;
  if (!view.text) return true;
  const answers = [view.a, view.b].flatMap(m => METHODS[m].cells.map(cell => cell.answers[problem] ?? ""));
  return [id, question, reference, ...answers].some(text => text.toLowerCase().includes(view.text));
}

function related(relation, problem) {
  return RELATIONS[relation][1](solved(METHODS[view.a], problem), solved(METHODS[view.b], problem), problem);
}

// -- controls ---------------------------------------------------------------------------------------

function showFilters() {
  const names = METHODS.map((method, number) => [number, method.name]);
  const groups = [...new Set(PROBLEMS.map(problem => problem.group))].filter(Boolean).sort(naturally);
  const set = name => value => {
    view[name] = name === "a" || name === "b" ? Number(value) : value;
    showList();
  };
  const search = el("input", { type: "search", id: "search", placeholder: "id, question, answer",
    oninput: event => set("text")(event.target.value.trim().toLowerCase()) });
  byId("filters").append(
    el("div", { class: "controls" },
      el("label", {}, "A ", choice(names, view.a, set("a"))), el("label", {}, "B ", choice(names, view.b, set("b"))),
      el("label", {}, "search ", search),
      groups.length > 1 && el("label", {}, "kind ",
        choice([["", "all"], ...groups.map(group => [group, group])], "", set("group"))),
      el("label", {}, "A fails by ", choice([["", "any cause"], ...Object.entries(DATA.causes)], "", set("cause"))),
      el("label", {}, "order ",
        choice(Object.entries(ORDERS).map(([key, [text]]) => [key, text]), "given", set("order")))),
    el("div", { class: "relations", id: "relations", role: "group", "aria-label": "solved by" }));
}

function naturally(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

function showRelations(candidates) {
  const buttons = Object.entries(RELATIONS).map(([key, [name]]) => el("button",
    { "aria-pressed": String(view.relation === key), onclick: () => { view.relation = key; showList(); } },
    name, " ", el("b", {}, count(candidates.filter(problem => related(key, problem)).length))));
  byId("relations").replaceChildren(el("span", {}, "solved by"), ...buttons);
}

// -- rows -------------------------------------------------------------------------------------------

function showList() {
  const candidates = PROBLEMS.map((_, number) => number).filter(passes);
  showRelations(candidates);
  view.shown = candidates.filter(problem => related(view.relation, problem)).sort(ORDERS[view.order][1]);
  const pair = pairOf(view.a, view.b);
  const note = "This p is that of one comparison, without a correction for others.";
  byId("pair").textContent = pair ? `${pair.text} ${note}` : "";
  byId("count").textContent = view.shown.length === PROBLEMS.length
    ? `${count(PROBLEMS.length)} problems` : `${count(view.shown.length)} of ${count(PROBLEMS.length)} problems`;
  byId("list").replaceChildren();
  addRows();
}

/** Show the next rows; those after them once their end comes into view. */
function addRows() {
  const list = byId("list");
  const from = list.childElementCount;
  list.append(...view.shown.slice(from, from + PAGE_ROWS).map(row));
  if (list.childElementCount >= view.shown.length) return;
  const watcher = new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    watcher.disconnect();
    addRows();
  }, { rootMargin: "600px" });
  watcher.observe(list.lastElementChild);
}

function row(problem) {
  const { id, question, group } = PROBLEMS[problem];
  const methods = METHODS.filter(method => !method.bound).length;
  return el("a", { class: "row", href: linkTo(problem) },
    el("span", { class: "id" }, id), el("span", { class: "question" }, question),
    el("span", { class: "marks" }, mark("A", METHODS[view.a], problem), mark("B", METHODS[view.b], problem)),
    el("span", { class: "faint", title: "methods that solve it, with at least one of their seeds" },
      [group, `${solvers(problem)} of ${methods}`].filter(Boolean).join(" · ")));
}

/** Whether a method solves a problem: a sign, a word for screen readers, and how many seeds. */
function mark(name, method, problem) {
  const { right, runs, share } = solved(method, problem);
  const [sign, word, look] = !runs ? ["–", "not run", "missing"] : share === 1 ? ["✓", "right", "right"]
    : share === 0 ? ["✗", "wrong", "wrong"] : [`${right}/${runs}`, "right with some seeds", "some"];
  return el("span", { class: `mark ${look}`, title: `${method.name}: ${word}` }, `${name} ${sign}`);
}

function linkTo(problem, a = view.a, b = view.b) {
  return `#problem=${problem}&a=${a}&b=${b}`;
}
