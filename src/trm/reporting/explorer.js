"use strict";

const SECONDS = 0.7; // a step, in play
const FILTERS = [
  ["all", () => true],
  ["solved", (puzzle) => puzzle.kind <= 1],
  ["unsolved", (puzzle) => puzzle.kind >= 2],
  ["solved late", (puzzle) => puzzle.kind === 1],
  ["lost again", (puzzle) => puzzle.kind === 2],
];
const at = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const row = (puzzle) => `Row ${puzzle.row.toLocaleString("en")}`;

let pack; // {shapes, places, puzzles}
let shown = []; // the puzzles that pass the filter
let puzzle; // the one on the stage
let step = 1;
let timer = null; // runs while playing

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const found = await new Response(stream).json();
  for (const puzzle of found.puzzles) {
    puzzle.confidence = puzzle.confidence.map((step) => numbers(step).map((number) => number / SURE));
    puzzle.wrong = puzzle.wrong.map((step) => numbers(step).flatMap((number, i) => (number ? [i] : [])));
  }
  return found;
}

const numbers = (letters) => Array.from(letters, (letter) => letter.charCodeAt(0) - "0".charCodeAt(0));

function kindOf(puzzle) {
  const first = puzzle.exact.indexOf(true) + 1;
  const name = KINDS[puzzle.kind];
  return first ? `${name}, ${name === "lost again" ? "right" : "first"} at step ${first}` : name;
}

// The list and its filter

function fillFilters() {
  for (const [name, passes] of FILTERS) {
    const count = pack.puzzles.filter(passes).length;
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "filter", value: name });
    radio.disabled = count === 0;
    radio.checked = name === "all";
    radio.addEventListener("change", () => filter(name));
    const number = document.createElement("span");
    number.textContent = count;
    label.classList.toggle("none", count === 0);
    label.append(radio, name, number);
    at("filters").append(label);
  }
}

/** List the puzzles that pass a filter. */
function list(name) {
  document.querySelector(`#filters input[value="${name}"]`).checked = true;
  shown = pack.puzzles.filter(FILTERS.find(([other]) => other === name)[1]);
  at("list").replaceChildren(
    ...shown.map((puzzle) => {
      const item = document.createElement("li");
      item.id = `row-${puzzle.row}`;
      item.setAttribute("role", "option");
      const status = document.createElement("small");
      status.className = `kind-${puzzle.kind}`;
      status.textContent = KINDS[puzzle.kind];
      item.append(`${row(puzzle)} `, status);
      item.addEventListener("click", () => choose(puzzle, 1));
      return item;
    }),
  );
}

function filter(name) {
  list(name);
  if (shown.includes(puzzle)) choose(puzzle, step);
  else choose(shown[0], 1);
}

function choose(chosen, wanted) {
  stop();
  puzzle = chosen;
  const list = at("list");
  for (const item of list.children) item.setAttribute("aria-selected", item.id === `row-${puzzle.row}`);
  const item = at(`row-${puzzle.row}`);
  list.setAttribute("aria-activedescendant", item.id);
  const above = item.offsetTop - list.scrollTop; // of the list alone: the page stays where it is
  if (above < 0) list.scrollTop = item.offsetTop;
  if (above + item.offsetHeight > list.clientHeight) {
    list.scrollTop = item.offsetTop + item.offsetHeight - list.clientHeight;
  }
  at("title").textContent = row(puzzle);
  at("kind").textContent = kindOf(puzzle);
  at("kind").className = `kind kind-${puzzle.kind}`;
  setUp();
  go(wanted);
}

// The boards

const markup = (numbers) => numbers.map((number) => pack.shapes[number]).join("");

/** What a puzzle's boards show at every step, and the layers for the rest. */
function setUp() {
  const [width, height] = puzzle.size;
  const margin = 0.06; // cells, for the outer half of a frame
  const paper = (id, [width, height]) => {
    const box = [-margin, -margin, width + 2 * margin, height + 2 * margin].map((length) => CELL * length).join(" ");
    at(id).setAttribute("viewBox", box);
    return `<rect width="${CELL * width}" height="${CELL * height}" class="ink-paper"/>`;
  };
  at("question").innerHTML = paper("question", puzzle.size_of_truth) + markup(puzzle.question);
  at("truth").innerHTML = paper("truth", puzzle.size_of_truth) + markup(puzzle.truth);
  const squares = (cells, inset, name) =>
    cells.map((cell, i) => {
      const place = pack.places[cell];
      if (!place || place[0] + 1 > width || place[1] + 1 > height) return "";
      const [x, y] = place.map((length) => CELL * (length + inset));
      const side = CELL * (1 - 2 * inset);
      return `<rect x="${x}" y="${y}" width="${side}" height="${side}" class="${name}" data-i="${i}"/>`;
    }).join("");
  const tints = squares(puzzle.cells, 0.03, "tint");
  const fades = squares(puzzle.cells.slice(0, puzzle.confidence[0].length), 0.06, "fade"); // not of what is given
  at("switch").hidden = !tints;
  at("answer").innerHTML =
    `${paper("answer", puzzle.size)}${markup(puzzle.ground)}<g>${tints}</g><g id="picture"></g><g>${fades}</g>`;
  at("boards").classList.toggle("broad", width > 1.6 * height);
  drawChart();
}

/** Colour each cell by whether it is right, the stronger the surer the network is of it. */
function tint() {
  const sure = puzzle.confidence[step - 1];
  const wrong = new Set(puzzle.wrong[step - 1]);
  for (const square of at("answer").querySelectorAll(".tint")) {
    const i = Number(square.dataset.i);
    const p = (sure[i] || 0); // a given cell has none, and gets its frame alone, where it is wrong
    square.setAttribute("class", `tint ${wrong.has(i) ? "wrong" : "right"}`);
    square.setAttribute("fill-opacity", ((wrong.has(i) ? 0.34 : 0.17) * p).toFixed(3));
  }
  for (const square of at("answer").querySelectorAll(".fade")) {
    const i = Number(square.dataset.i);
    const [x, y] = pack.places[puzzle.cells[i]];
    const verdict = wrong.has(i) ? "wrong" : "right";
    square.setAttribute("fill-opacity", (0.55 * (1 - sure[i])).toFixed(3));
    square.innerHTML = `<title>row ${y + 1}, column ${x + 1}: ${verdict}, confidence ${percent(sure[i])}</title>`;
  }
}

function drawChart() {
  const [left, right, top, bottom] = [44, 272, 8, 108];
  const x = (k) => (STEPS === 1 ? (left + right) / 2 : left + 8 + ((k - 1) * (right - left - 16)) / (STEPS - 1));
  const y = (p) => bottom - p * (bottom - top);
  const points = puzzle.halting.map((p, i) => [x(i + 1), y(p)]);
  const width = (right - left) / STEPS;
  const every = Math.ceil(STEPS / 8);
  const parts = [
    `<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    `<line class="axis" x1="${left}" x2="${right}" y1="${top}" y2="${top}"/>`,
    `<line class="half" x1="${left}" x2="${right}" y1="${y(0.5)}" y2="${y(0.5)}"/>`,
    ...[0, 0.5, 1].map((p) => `<text x="${left - 6}" y="${y(p) + 4}" text-anchor="end">${percent(p)}</text>`),
    `<line class="now" id="now" y1="${top}" y2="${bottom}"/>`,
    `<polyline class="curve" points="${points.map((point) => point.join()).join(" ")}"/>`,
    ...points.map(([px, py], i) => {
      const label = `step ${i + 1}: ${percent(puzzle.halting[i])}`;
      const number = i % every === 0 ? `<text x="${px}" y="${bottom + 16}" text-anchor="middle">${i + 1}</text>` : "";
      return (
        `${number}<circle cx="${px}" cy="${py}" r="3.5" class="${puzzle.exact[i] ? "exact" : ""}"/>` +
        `<rect class="hit" data-step="${i + 1}" x="${px - width / 2}" y="0" width="${width}" height="130">` +
        `<title>${label}</title></rect>`
      );
    }),
  ];
  at("chart").innerHTML = parts.join("");
  at("chart").dataset.x = JSON.stringify(points.map(([px]) => px));
  const listed = puzzle.halting.map((p, i) => `step ${i + 1}: ${percent(p)}`).join(", ");
  at("chart").setAttribute("aria-label", `Halting probability by step. ${listed}`);
}

// A step

function go(wanted) {
  step = Math.min(Math.max(wanted, 1), STEPS);
  const i = step - 1;
  at("picture").innerHTML = markup(puzzle.pictures[puzzle.picture[i]]);
  tint();
  const x = JSON.parse(at("chart").dataset.x)[i];
  at("now").setAttribute("x1", x);
  at("now").setAttribute("x2", x);
  at("slider").value = step;
  at("slider").setAttribute("aria-valuetext", `step ${step} of ${STEPS}`);
  at("answer-caption").textContent = `Answer after step ${step}`;
  const cells = `${puzzle.right[i]} of ${puzzle.asked} ${puzzle.asked === 1 ? "cell" : "cells"} right`;
  at("status").textContent = `Step ${step} of ${STEPS}: ${cells}, halting probability ${percent(puzzle.halting[i])}`;
  const sure = puzzle.confidence[i];
  const mean = sure.reduce((sum, p) => sum + p, 0) / sure.length;
  const facts = [
    ["Answer", puzzle.exact[i] ? "right" : "not the truth"],
    [VALID[0].toUpperCase() + VALID.slice(1), puzzle.valid[i] ? "yes" : "no"],
    ["Confidence", sure.length === 1 ? percent(mean) : `mean ${percent(mean)}, lowest ${percent(Math.min(...sure))}`],
    ["Wrong", wrongCells(i)],
  ];
  at("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]),
  );
  // a button that is really disabled would lose the focus
  for (const id of ["first", "back"]) at(id).setAttribute("aria-disabled", step === 1);
  for (const id of ["next", "last"]) at(id).setAttribute("aria-disabled", step === STEPS);
  const hash = `#puzzle=${puzzle.row}&step=${step}`;
  at("link").href = hash;
  history.replaceState(null, "", hash);
}

/** The first few wrong cells in words, for those who do not see their colour. */
function wrongCells(i) {
  const places = puzzle.wrong[i].map((k) => pack.places[puzzle.cells[k]]);
  const count = `${places.length} ${places.length === 1 ? "cell" : "cells"}`;
  if (places.length === 0) return "no cell";
  if (places.includes(null)) return count;
  const words = places.slice(0, 3).map(([x, y]) => `row ${y + 1} column ${x + 1}`);
  return `${count}: ${words.join(", ")}${places.length > 3 ? ", …" : ""}`;
}

function play() {
  if (step === STEPS) go(1);
  at("play").textContent = "Pause";
  at("status").setAttribute("aria-live", "off"); // a step every moment is too much to read out
  timer = setInterval(() => {
    go(step + 1);
    if (step === STEPS) stop();
  }, 1000 * SECONDS);
}

function stop() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "Play";
  at("status").setAttribute("aria-live", "polite");
}

function walk(wanted) {
  stop();
  go(wanted);
}

/** The puzzle and step that the address names; the first ones where it names none. */
function follow() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const found = pack.puzzles.find((puzzle) => String(puzzle.row) === wanted.get("puzzle"));
  if (found && !shown.includes(found)) list("all");
  choose(found || shown[0], Number.parseInt(wanted.get("step"), 10) || 1);
}

function listen() {
  at("first").addEventListener("click", () => walk(1));
  at("back").addEventListener("click", () => walk(step - 1));
  at("next").addEventListener("click", () => walk(step + 1));
  at("last").addEventListener("click", () => walk(STEPS));
  at("play").addEventListener("click", () => (timer ? stop() : play()));
  at("slider").addEventListener("input", () => walk(Number(at("slider").value)));
  at("chart").addEventListener("click", (event) => event.target.dataset.step && walk(Number(event.target.dataset.step)));
  at("colors").addEventListener("change", () => at("answer").classList.toggle("plain", !at("colors").checked));
  at("list").addEventListener("keydown", (event) => {
    const now = shown.indexOf(puzzle);
    const next = { ArrowUp: now - 1, ArrowDown: now + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (shown[next] && next !== now) choose(shown[next], 1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") walk(step - 1);
    if (event.key === "ArrowRight") walk(step + 1);
  });
  window.addEventListener("hashchange", follow);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const label = () => (at("theme").textContent = theme() === "dark" ? "Light colours" : "Dark colours");
  at("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
}

async function start() {
  pack = await unpack(at("data").textContent);
  fillFilters();
  list("all");
  listen();
  follow();
}

start().catch((error) => {
  at("title").textContent = "This page could not be read";
  at("status").textContent = `${error}; it needs a browser of 2023 or later`;
});
