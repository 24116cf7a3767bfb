// The data of the page: all results at once, search trees when they are looked at.

const DATA = JSON.parse(byId("data").textContent);
const METHODS = DATA.methods;
const PROBLEMS = DATA.problems;
const SOLVED = "1";
const MISSING = "-";
const KEPT_BLOCKS = 24;

METHODS.forEach((method, number) => {
  method.number = number;
  method.cells = DATA.cells.filter(cell => cell.method === number);
});

/** How many seeds have a result of a problem, how many of them solve it, and their share. */
function solved(method, problem) {
  const results = method.cells.map(cell => cell.results[problem]).filter(result => result !== MISSING);
  const right = results.filter(result => result === SOLVED).length;
  return { right, runs: results.length, share: results.length ? right / results.length : 0 };
}

/** Why the seeds of a method that do not solve a problem failed: letters of DATA.causes. */
function causes(method, problem) {
  const results = method.cells.map(cell => cell.results[problem]);
  return results.filter(result => result !== SOLVED && result !== MISSING);
}

/** How two methods differ, in either order; null if they have no problem in common. */
function pairOf(a, b) {
  return DATA.pairs.find(pair => (pair.a === a && pair.b === b) || (pair.a === b && pair.b === a)) ?? null;
}

const blocks = new Map();

/** The search tree of a problem in a cell; null if it is not in this file. */
async function treeOf(cell, problem) {
  const number = cell.blocks[problem];
  if (number < 0) return null;
  if (!blocks.has(number)) blocks.set(number, decoded(number));
  if (blocks.size > KEPT_BLOCKS) blocks.delete(blocks.keys().next().value);
  const trees = await blocks.get(number);
  return trees[PROBLEMS[problem].id];
}

async function decoded(number) {
  const element = await whenRead(`block-${number}`);
  const bytes = Uint8Array.from(atob(element.textContent), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** An element that may be in the part of the file that is not read yet; with something after it, it is whole. */
async function whenRead(id) {
  if (document.readyState === "loading" && !byId(id)?.nextSibling) {
    await new Promise(resolve => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }
  return byId(id);
}
