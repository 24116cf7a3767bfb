// Elements and numbers. Text from models only ever becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Strings among the children become text; null and false are left out. */
function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== false));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

function count(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A figure that may be small: two digits that count. */
function figure(value) {
  return value >= 100 ? count(value) : value >= 10 ? count(value, 1) : count(value, 2);
}

function percent(share) {
  return `${count(100 * share, 1)} %`;
}

function shares(bounds) {
  return `[${bounds.map(bound => count(100 * bound, 1)).join(", ")}]`;
}

function signed(points) {
  const size = count(Math.abs(points), 1);
  return size === "0.0" ? size : (points > 0 ? "+" : "−") + size;
}

function points(value, bounds) {
  return `${signed(value)} [${bounds.map(signed).join(", ")}]`;
}

function pText(p) {
  return p < 0.001 ? "< 0.001" : count(p, 3);
}

function isNoise(p) {
  return p >= DATA.alpha;
}

/** A select of [value, text] pairs. */
function choice(pairs, chosen, onchange) {
  const options = pairs.map(([value, text]) =>
    el("option", { value, selected: String(value) === String(chosen) }, text));
  return el("select", { onchange: event => onchange(event.target.value) }, ...options);
}
