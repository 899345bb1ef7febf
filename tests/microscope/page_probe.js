"use strict";
// Goes into a page of `diffllama attention` behind its own script, with the --json of the same run in #expected: uses the
// page as its reader would, and compares what is on the canvases with those numbers. Writes to #probe, and tells its frame.
const problems = [];
const expected = JSON.parse(document.getElementById("expected").textContent);
const check = (holds, what) => { if (!holds && problems.length < 20) problems.push(what); };
let cells = 0, negative = 0;

function pick(id, value) {
  byId(id).value = value;
  byId(id).dispatchEvent(new Event("change"));
}
function compareMap(name, map, where) {
  const canvas = byId(name);
  // From a copy: the browser has a word for pages that read their own canvases back.
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const scale = canvas.width / canvas.clientWidth;
  const margin = Number(canvas.dataset.margin), step = Number(canvas.dataset.step);
  check(step >= 8, `${where}: cells of ${step} pixels`);
  for (let row = 0; row < map.length; ++row) {
    for (let column = 0; column < map.length; ++column) {
      const at = (token) => Math.floor((margin + (token + .5) * step) * scale);
      const [red, , blue, alpha] = context.getImageData(at(column), at(row), 1, 1).data;
      const weight = map[row][column];
      // Opacity is rounded to 1/255, of a weight that lies in the page as float16.
      const near = Math.abs(alpha - 255 * Math.sqrt(Math.min(Math.abs(weight), 1))) <= 1;
      check(near, `${where}[${row}][${column}]: opacity ${alpha} for ${weight}`);
      const warm = name === "second" || weight < 0;
      check(alpha < 16 || (red > blue) === warm, `${where}[${row}][${column}]: colour of ${weight}`);
      ++cells;
      if (weight < 0 && alpha >= 16) ++negative;
    }
  }
}
function press(key) {
  byId("first").focus();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

const fits = () => document.documentElement.scrollWidth <= window.innerWidth;
check(fits(), `the page is ${document.documentElement.scrollWidth} wide in ${window.innerWidth}`);
if (expected.layers[0].heads[0].maps && count <= 40) {
  for (const [layer, of] of expected.layers.entries()) {
    pick("layer", layer);
    for (const [head, { maps, reads, lambda }] of of.heads.entries()) {
      pick("head", head);
      for (const name of names) compareMap(name, maps[name], `layer ${layer}, head ${head}, ${name}`);
      const shown = two ? byId("lambda-caption").textContent : "";
      if (two && !Array.isArray(lambda)) check(shown === `λ = ${number(lambda)} for every token`, shown);
      press("End");
      const first = byId("reads").querySelector("tbody tr");
      const [place, weight] = reads[count - 1].with_subtraction[0];
      check(first.cells[1].textContent === String(place), `layer ${layer}, head ${head}: reads ${first.textContent}`);
      check(Math.abs(Number(first.cells[2].textContent) - weight) <= 2e-3 * weight, `weight ${first.textContent}`);
    }
  }
  const row = byId("measures").tBodies[0].rows[0];
  if (two) check(row.cells[1].textContent === number(expected.layers[0].mean.lambda), `λ of layer 0: ${row.textContent}`);
  press("Home");
  check(byId("cell").textContent.includes("(0) reads"), `Home: ${byId("cell").textContent}`);
  press("ArrowDown");
  check(byId("cell").textContent.includes("(1) reads"), `ArrowDown: ${byId("cell").textContent}`);
  check(byId("first").getAttribute("aria-label") === byId("cell").textContent, "the label of the map");
  check(negative > 0 || !two, "no negative weight was seen");
}
check(byId("text").querySelectorAll(".answer").length === (expected.answer === null ? 0
  : expected.answer.end - expected.answer.begin), "the answer's tokens");
const probe = document.createElement("pre");
probe.id = "probe";
probe.textContent = problems.length === 0 ? `probe: all well, ${cells} cells` : `probe: ${problems.join("; ")}`;
document.body.append(probe);
parent.postMessage(probe.textContent, "*");
