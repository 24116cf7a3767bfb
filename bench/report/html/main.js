// Which view is shown follows the address: "#problem=3&a=0&b=1", or the overview.

let overviewScroll = 0;

function route() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const [problem, a, b] = ["problem", "a", "b"].map(name => Number(wanted.get(name) ?? NaN));
  const isProblem = problem in PROBLEMS && a in METHODS && b in METHODS;
  if (isProblem && byId("problem").hidden) overviewScroll = scrollY;
  byId("overview").hidden = isProblem;
  byId("problem").hidden = !isProblem;
  if (isProblem) {
    showProblem(problem, a, b);
    scrollTo(0, 0);
  } else {
    drawChart(byId("chart"), byId("axis").value);
    scrollTo(0, overviewScroll);
  }
}

function press(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const typing = event.target.matches("input:not([type=range], [type=checkbox]), select");
  if (event.key === "Escape" && event.target.id === "search") event.target.blur();
  else if (typing) return;
  else if (!byId("problem").hidden) byId("problem").querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
  else if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
  }
}

function start() {
  showAbout();
  showShort();
  showMethods();
  showDiagnosis();
  showFilters();
  showList();
  byId("axis").append(...axes().map(([value, text]) => el("option", { value }, text)));
  byId("axis").addEventListener("change", () => drawChart(byId("chart"), byId("axis").value));
  addEventListener("hashchange", route);
  addEventListener("keydown", press);
  addEventListener("resize", () => { if (!byId("overview").hidden) drawChart(byId("chart"), byId("axis").value); });
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  route();
}

start();
