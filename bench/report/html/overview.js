// The overview: what the figures say, the table of all results, and why problems are lost.

function showAbout() {
  const first = METHODS[0];
  const seeds = new Set(DATA.cells.map(cell => cell.seed)).size;
  const facts = [
    `task ${DATA.task}`, `policy ${DATA.policy}`, DATA.prm && `PRM ${DATA.prm}`,
    `${count(PROBLEMS.length)} problem${PROBLEMS.length === 1 ? "" : "s"}`, `${seeds} seed${seeds > 1 ? "s" : ""}`,
    DATA.revision && `revision ${DATA.revision}`,
  ];
  byId("about").append(facts.filter(Boolean).join(" · "));
  if (DATA.command) {
    byId("about").after(el("details", {}, el("summary", {}, "Command"), el("pre", {}, DATA.command)));
  }
}

function showShort() {
  const [first, ...others] = DATA.short;
  byId("short").append(el("p", { class: "verdict" }, first), ...others.map(text => el("p", {}, text)));
  if (DATA.missing.length) {
    byId("short").append(el("p", { class: "warning" }, `Not all of it is there: ${DATA.missing.join("; ")}.`));
  }
  if (DATA.budgets.length) {
    byId("short").append(el("h3", {}, "The best at each budget"), budgetsTable(),
      el("p", { class: "note" }, "Against the baseline at the same budget; p: exact paired test, corrected for all " +
        "methods at that budget (Holm)."));
  }
  if (DATA.steps.length > 1) {
    byId("short").append(el("h3", {}, "What more tokens buy"), stepsTable(),
      el("p", { class: "note" }, "Each method that is more accurate than all cheaper ones, and its gain over the " +
        "one above it. p: exact paired test, corrected for the rows of this table (Holm)."));
  }
}

function budgetsTable() {
  const rows = DATA.budgets.map(({ budget, method, base, ...gain }) => el("tr", {},
    el("th", { scope: "row" }, budget), cell(METHODS[method].name, { class: "text" }),
    cell(`${percent(METHODS[method].accuracy)} ${shares(METHODS[method].ci)}`),
    cell(METHODS[method].is_base ? "the baseline itself" : base === undefined ? "" : METHODS[base].name,
      { class: "text" }),
    ...gainCells(gain)));
  const names = ["budget", "best|", "accuracy [95 %]", "baseline|", "difference, points [95 %]", "p", ""];
  return el("div", { class: "wide" }, el("table", {}, heads(names), el("tbody", {}, ...rows)));
}

function gainCells(gain) {
  if (gain.p === undefined) return [cell(""), cell(""), cell("")];
  return [cell(points(gain.points, gain.bounds)), cell(pText(gain.p)), cell(verdict(gain.p, gain.points))];
}

function stepsTable() {
  const rows = DATA.steps.map(step => {
    const method = METHODS[step.method];
    return el("tr", {}, el("th", { scope: "row" }, method.name), cell(count(method.tokens)),
      cell(`${percent(method.accuracy)} ${shares(method.ci)}`), ...gainCells(step));
  });
  return el("div", { class: "wide" }, el("table", {},
    heads(["method", DATA.unit, "accuracy [95 %]", "gain, points [95 %]", "p", ""]), el("tbody", {}, ...rows)));
}

function cell(content, attributes = {}) {
  return el("td", attributes, content);
}

/** The head of a table. Names that end in "|" are of columns of text. */
function heads(names) {
  return el("thead", {}, el("tr", {}, ...names.map(name => el("th",
    { scope: "col", class: name.endsWith("|") ? "text" : null }, name.replace("|", "")))));
}

function verdict(p, difference) {
  if (isNoise(p)) return "within the noise";
  return difference > 0 ? "more than noise" : "worse, more than noise";
}

// -- all results ------------------------------------------------------------------------------------

const COLUMNS = [
  { head: "method", sort: m => m.number, text: m => m.name },
  { head: "accuracy [95 %]", sort: m => -m.accuracy, text: m => `${percent(m.accuracy)} ${shares(m.ci)}` },
  { head: "against baseline, points", sort: m => -(m.versus?.points ?? -1e9),
    text: m => m.versus ? points(m.versus.points, m.versus.bounds) : "" },
  { head: "p (Holm)", sort: m => m.versus?.p ?? 2, text: m => m.versus ? pText(m.versus.p) : "" },
  { head: "is it noise?", sort: m => m.versus?.p ?? 2,
    text: m => m.versus ? verdict(m.versus.p, m.versus.points)
      : m.bound ? "bound" : m.is_base ? "baseline" : "" },
  { head: "× baseline's tokens", sort: m => m.times ?? 1, text: m => m.times === null ? "" : count(m.times, 1) },
  { head: "policy tokens", sort: m => m.policy, text: m => count(m.policy) },
  { head: "PRM tokens", sort: m => m.prm, text: m => count(m.prm) },
  { head: "total tokens", sort: m => m.total, text: m => m.total ? count(m.total) : "" },
  { head: "samples", sort: m => m.samples, text: m => count(m.samples, 1) },
  { head: "discarded", sort: m => m.discarded, text: m => percent(m.discarded) },
  { head: "seconds", sort: m => m.seconds?.[0] ?? 0,
    text: m => m.seconds ? `${figure(m.seconds[0])} (p95 ${figure(m.seconds[1])})` : "" },
];

function showMethods(sorted = 1) {
  const columns = COLUMNS.filter(column => METHODS.some(method => column.text(method) !== ""));
  const order = [...METHODS].sort((a, b) => columns[sorted].sort(a) - columns[sorted].sort(b));
  const head = el("tr", {}, ...columns.map((column, number) => el("th",
    { scope: "col", "aria-sort": number === sorted ? "ascending" : null },
    el("button", { onclick: () => showMethods(number), title: "Sort by this column" }, column.head))));
  const rows = order.map(method => el("tr", { class: method.bound ? "bound" : null },
    ...columns.map((column, number) => number
      ? cell(column.text(method)) : el("th", { scope: "row", title: parameters(method) }, column.text(method)))));
  byId("methods").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)),
    el("p", { class: "note" }, methodsNote()), turnsTable(order));
}

function methodsNote() {
  const times = METHODS.some(({ budget }) => /^[0-9.]+x$/.test(budget));
  return [
    times && "4x is a budget for each problem: 4 times the mean cost of greedy decoding (cot) on these problems. " +
      "Greedy decoding itself is never cut, and is the same at every budget; at 1x, others are cut on all " +
      "problems that cost more than the mean.",
    DATA.weight && "Total tokens: the sampled ones, and the tokens of scored steps times " +
      `${count(DATA.weight, 2)}, the reward model's parameters over the policy's. PRM tokens are those that were ` +
      "computed, without what a cache held.",
    "Tokens, samples and seconds are means of a problem; discarded: tokens that are not in the answer. What " +
      "several methods sample alike is sampled once, so the seconds of those that came later leave it out.",
    "Intervals: Wilson, or with several seeds a bootstrap over problems. A method is compared with the baseline at " +
      "its own budget; p: McNemar's exact test, or the sign-flip test, corrected for all methods at that budget " +
      "(Holm). An interval is not corrected: it can leave out 0 where the difference is within the noise.",
    METHODS.some(({ bound }) => bound) && "A bound is guided by the reference answers.",
  ].filter(Boolean).join(" ");
}

/** Success at turn k, where there are episodes; an episode that has ended keeps its answer. */
function turnsTable(methods) {
  const most = Math.max(...methods.map(method => method.turns.length));
  if (!most) return "";
  const turns = Array.from({ length: most }, (_, n) => n);
  const rows = methods.filter(({ turns }) => turns.length).map(method => el("tr", {},
    el("th", { scope: "row" }, method.name), ...turns.map(n => cell(percent(method.turns[n] ?? method.turns.at(-1))))));
  return el("div", { id: "turns" }, el("h3", {}, "Right after turn k"),
    el("table", {}, heads(["method", ...turns.map(n => `${n + 1}`)]), el("tbody", {}, ...rows)),
    el("p", { class: "note" }, "An episode that has ended keeps its answer."));
}

function parameters(method) {
  return Object.entries(method.params).map(([name, value]) => `${name}=${value}`).join(" ");
}

// -- diagnosis --------------------------------------------------------------------------------------

function showDiagnosis() {
  const head = heads(["method", "accuracy", "pass@N", "gap, points", "PRM AUC", "why its wrong answers are wrong|"]);
  const rows = METHODS.map(method => {
    const found = method.diagnosis;
    return el("tr", {}, el("th", { scope: "row" }, method.name), cell(percent(method.accuracy)),
      cell(percent(found.oracle)), cell(count(100 * found.gap, 1)),
      cell(found.auc === null ? "" : count(found.auc, 2)), cell(causesText(found.causes), { class: "text" }));
  });
  byId("diagnosis").append(
    el("div", { class: "wide" }, el("table", {}, head, el("tbody", {}, ...rows))),
    el("p", { class: "note" }, "pass@N: a right solution is among those that the search finished. gap: what a " +
      "perfect choice among them would add. PRM AUC: the probability that the reward model values a right solution " +
      "of a problem above a wrong one; 0.5 is chance."),
    ...METHODS.map(({ name, diagnosis }) => el("details", {},
      el("summary", {}, el("b", {}, name), ` ${diagnosis.sentence}`), facts(diagnosis.facts))));
}

function causesText(counts) {
  return Object.entries(counts).map(([letter, n]) => `${count(n)} ${DATA.causes[letter]}`).join(", ");
}

function facts(pairs) {
  return el("dl", {}, ...pairs.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
}
