"use strict";
// Everything here adds to a page that is complete without it.

const tip = document.getElementById("tip");

function showTip(text, event) {
  tip.textContent = text;
  tip.hidden = !text;
  if (!text) return;
  const right = window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8;
  const below = event.clientY + 16 + tip.offsetHeight < window.innerHeight;
  tip.style.left = `${Math.max(8, Math.min(event.pageX + 12, right))}px`;
  tip.style.top = `${below ? event.pageY + 16 : event.pageY - tip.offsetHeight - 12}px`;
}

// A chart over requests in flight tells the row of its data table that is nearest to the pointer.
function rowAt(plot, event) {
  const table = plot.closest("details.ladder").querySelector("details.data table");
  const box = plot.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * 360;
  const stops = plot.dataset.x.split(" ").map(Number);
  const distance = stops.map((stop) => Math.abs(stop - x));
  const row = table.tBodies[0].rows[distance.indexOf(Math.min(...distance))];
  const said = (column) => [table.tHead.rows[0].cells[column].textContent, row.cells[column].textContent];
  const lines = plot.dataset.columns.split(" ").map(said);
  return lines.filter(([, value]) => value).map(([name, value]) => `${name}: ${value}`).join("\n");
}

function follow(event) {
  const marked = event.target.closest("[data-tip]");
  const plot = event.target.closest("[data-x]");
  showTip(marked ? marked.dataset.tip : plot ? rowAt(plot, event) : "", event);
}
document.addEventListener("pointermove", follow);
document.addEventListener("pointerdown", follow);
document.addEventListener("pointerleave", () => showTip(""));
document.addEventListener("keydown", (event) => event.key === "Escape" && showTip(""));

// Numbers by size, anything else by the alphabet, what is not there last.
function compare(a, b) {
  if (!a || !b) return 0;
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sort(table, column, head) {
  const upwards = head.ariaSort !== "ascending";
  for (const other of head.parentNode.cells) other.ariaSort = "none";
  head.ariaSort = upwards ? "ascending" : "descending";
  const body = table.tBodies[0];
  // A cell that shows more than its number says by which number it is sorted.
  const value = (cell) => cell.dataset.value ?? cell.textContent;
  const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
  rows.sort(([a], [b]) => (!a - !b) || (upwards ? compare(a, b) : compare(b, a)));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll(".sortable"))
  [...table.tHead.rows[0].cells].forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => sort(table, column, head)));

const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  for (const row of document.querySelectorAll("#cells tbody tr"))
    row.hidden = !`${row.dataset.tip ?? ""} ${row.textContent}`.toLowerCase().includes(wanted);
});

// Whoever is sent to a ladder finds it open, and whoever prints finds all of them.
function open() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (place instanceof HTMLDetailsElement) place.open = true;
  place?.scrollIntoView();
}
window.addEventListener("hashchange", open);
if (location.hash) open();
window.addEventListener("beforeprint", () => {
  for (const ladder of document.querySelectorAll("details.ladder")) ladder.open = true;
});
