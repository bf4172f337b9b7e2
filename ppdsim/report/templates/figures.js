"use strict";
// Shows every figure as Python drew it for the chosen values, and lays its panels out for the width at hand.
const report = JSON.parse(document.getElementById("data").textContent);
const chosen = {};  // choice name -> value, shared by all figures that offer it
const redrawn = {};  // figure name -> function that returns {data, layout}; see costs.js
const PANEL_PX = 290, ABOVE_PX = 50, BELOW_PX = 62, LEFT_PX = 62, GAP_PX = 74, RIGHT_PX = 12, NARROW_PX = 640;
const clone = value => JSON.parse(JSON.stringify(value));

function choiceOf(choice) {
  const offered = choice.options.map(option => String(option[0]));
  return offered.includes(chosen[choice.name]) ? chosen[choice.name] : String(choice.value);
}

function drawingOf(name) {
  const figure = report.figures[name];
  if (redrawn[name]) return redrawn[name]();
  return clone(figure.variants[figure.choices.map(choiceOf).join("|")]);
}

function axis(layout, letter, panel) {
  return layout[letter + "axis" + (panel ? panel + 1 : "")];
}

function layOut(layout, panels, width) {
  const narrow = width < NARROW_PX;
  const columns = narrow ? 1 : panels === 4 ? 2 : Math.min(panels, 3);
  const rows = Math.ceil(panels / columns), step = PANEL_PX + ABOVE_PX + BELOW_PX;
  const across = width - LEFT_PX - RIGHT_PX, down = rows * step - ABOVE_PX - BELOW_PX;
  const column = (across - GAP_PX * (columns - 1)) / columns;
  layout.margin = {l: LEFT_PX, r: RIGHT_PX, t: ABOVE_PX, b: BELOW_PX};
  layout.height = rows * step;
  for (let i = 0; i < panels; i++) {
    const left = (i % columns) * (column + GAP_PX), top = Math.floor(i / columns) * step;
    axis(layout, "x", i).domain = [left / across, Math.min(1, (left + column) / across)];
    axis(layout, "y", i).domain = [Math.max(0, 1 - (top + PANEL_PX) / down), 1 - top / down];
  }
}

function makeSmall(drawing) {
  for (const trace of drawing.data) {
    if (trace.type !== "heatmap") continue;
    trace.texttemplate = "";
    Object.assign(trace.colorbar, {orientation: "h", y: -0.3, yanchor: "top", x: 0.5, len: 1.1});
    trace.colorbar.title.side = "bottom";
    drawing.layout.margin.b = 140;
  }
}

function legendOf(data) {
  const seen = new Set();
  return data.filter(trace => {
    const listed = trace.type !== "heatmap" && trace.showlegend !== false && trace.name && !seen.has(trace.name);
    if (listed) seen.add(trace.name);
    return listed;
  });
}

function swatch(trace) {
  const line = trace.line || {}, marker = trace.marker || {}, mode = trace.mode || "";
  const dash = (line.dash || "solid") === "solid" ? "" : ' stroke-dasharray="6 4"';
  let drawn = "";
  if (mode.includes("lines")) {
    drawn += `<line x1="0" x2="26" y1="6" y2="6" stroke="${line.color}" stroke-width="${line.width}"${dash}/>`;
  }
  if (mode === "markers") {
    const edge = marker.line || {};
    const shapes = {
      "line-ns-open": `<line x1="13" x2="13" y1="0" y2="12" stroke="${edge.color}" stroke-width="2"/>`,
      diamond: `<path d="M13 1 18 6 13 11 8 6Z" fill="${marker.color}"/>`,
    };
    drawn += shapes[marker.symbol]
      || `<circle cx="13" cy="6" r="4" fill="${marker.color}" stroke="${edge.color || marker.color}" stroke-width="1.5"/>`;
  }
  return `<svg viewBox="0 0 26 12" aria-hidden="true">${drawn}</svg>`;
}

function writeLegend(place, data) {
  place.replaceChildren(...legendOf(data).map(trace => {
    const entry = document.createElement("span");
    entry.innerHTML = swatch(trace);
    entry.append(trace.name);
    return entry;
  }));
}

function show(name) {
  const figure = document.getElementById(name), plot = figure.querySelector(".plot");
  const drawing = drawingOf(name), width = plot.clientWidth;
  drawing.layout.width = width;
  drawing.layout.showlegend = false;
  drawing.layout.dragmode = false;
  if (drawing.layout.yaxis.domain) layOut(drawing.layout, report.figures[name].panels, width);
  else Object.assign(drawing.layout.margin, {t: 12, b: 52});
  if (width < NARROW_PX) makeSmall(drawing);
  writeLegend(figure.querySelector(".legend"), drawing.data);
  return Plotly.react(plot, drawing.data, drawing.layout, {displayModeBar: false});
}

function showAll() {
  Object.keys(report.figures).forEach(show);
}

document.addEventListener("change", event => {
  const name = event.target.dataset.choice;
  if (!name) return;
  chosen[name] = event.target.value;
  for (const [figure, {choices}] of Object.entries(report.figures)) {
    const choice = choices.find(offered => offered.name === name);
    if (!choice) continue;
    for (const input of document.getElementById(figure).querySelectorAll(`[data-choice="${name}"]`)) {
      input.checked = input.value === choiceOf(choice);
    }
    show(figure);
  }
});

let shownWidth = window.innerWidth, waiting = 0;
window.addEventListener("resize", () => {
  if (window.innerWidth === shownWidth) return;
  shownWidth = window.innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(showAll, 120);
});
