"use strict";
// The cost curves and their sliders. J = TTFT + gamma N stall(N) of numbers that Python computed; r* is looked up.
const costs = report.costs;
const gammaSlider = document.getElementById("gamma"), residentsSlider = document.getElementById("residents");
const sum = (ttft, stall, weight) => ttft.map((t, i) => t === null || stall[i] === null ? null : t + weight * stall[i]);

function seriesOf(line, quantity, gamma, residents) {
  const gaps = line.uncached.map(() => null);
  const stall = line.stall_ms[residents] || {value: gaps, low: gaps, high: gaps};
  if (quantity === "ttft") return line.ttft_ms;
  if (quantity === "stall") return stall;
  const weight = gamma * residents, found = {};
  for (const part of ["value", "low", "high"]) found[part] = sum(line.ttft_ms[part], stall[part], weight);
  return found;
}

function fill(traces, line, quantity, gamma, residents, own) {
  const [band, solid, dashed, loaded, loadedDashed, strokes, simulated] = traces;
  const shown = seriesOf(line, quantity, gamma, residents), flags = [false, ...line.extrapolated, false];
  const known = line.uncached.map((_, i) => i).filter(i => shown.low[i] !== null && shown.high[i] !== null);
  const back = known.slice().reverse();
  band.x = [...known, ...back].map(i => line.uncached[i]);
  band.y = [...known.map(i => shown.low[i]), ...back.map(i => shown.high[i])];
  const inside = values => values.map((value, i) => flags[i + 1] ? null : value);
  const outside = values => values.map((value, i) => flags[i] || flags[i + 1] || flags[i + 2] ? value : null);
  for (const trace of [solid, dashed, loaded, loadedDashed, simulated]) Object.assign(trace, {x: line.uncached, text: line.text});
  solid.y = inside(shown.value);
  dashed.y = outside(shown.value);
  const underLoad = own && quantity !== "stall", cost = quantity === "j";
  const waiting = !underLoad ? [] : cost ? line.loaded_j_ms : line.loaded_ttft_ms;
  loaded.y = inside(waiting);
  loadedDashed.y = outside(waiting);
  simulated.y = !underLoad ? [] : cost ? line.simulated_j_ms : line.simulated_ttft_ms;
  simulated.x = simulated.y.length ? line.uncached : [];
  const ends = underLoad && cost ? line.simulated_j_low_ms.map((low, i) => [low, line.simulated_j_high_ms[i], null]) : [];
  strokes.y = ends.flat();
  strokes.x = ends.flatMap((_, i) => [line.uncached[i], line.uncached[i], null]);
}

function crossingOf(panel, gamma, residents) {
  const row = panel.crossings[panel.gammas.indexOf(gamma)] || [];
  return row[panel.residents.indexOf(residents)] || {kind: "", r_star: null, low: null, high: null, text: costs.not_computed, extrapolated: false};
}

function mark(layout, i, crossing) {
  const [band, line] = layout.shapes.slice(2 * i, 2 * i + 2), value = crossing.r_star;
  band.visible = line.visible = value !== null;
  const place = rate => rate === null ? 1 : 1 - rate;
  band.x0 = place(crossing.low === null ? value : crossing.low);
  band.x1 = place(crossing.high === null ? value : crossing.high);
  line.x0 = line.x1 = place(value);
  line.line.dash = crossing.extrapolated ? "dash" : "solid";
  layout.annotations[2 * i + 1].text = crossing.text;
}

function read(panel, crossing) {
  const entry = document.createElement("li");
  Object.assign(entry.dataset, {
    against: panel.against, kind: crossing.kind,
    rStar: crossing.r_star ?? "", low: crossing.low ?? "", high: crossing.high ?? "",
  });
  entry.textContent = `against ${panel.against}: ${crossing.text}`;
  return entry;
}

function drawCosts() {
  const figure = report.figures.costs, drawing = clone(figure.variants[""]);
  const [total, previous, quantity] = figure.choices.map(choiceOf);
  const gamma = costs.gammas[gammaSlider.value], residents = costs.residents[residentsSlider.value];
  const own = gamma === costs.gamma && residents === costs.streams;
  const view = costs.views[`${total}|${previous}`] || {panels: [], x_range: null};
  const readings = [];
  view.panels.forEach((panel, i) => {
    fill(drawing.data.slice(14 * i, 14 * i + 7), panel.append, quantity, gamma, residents, own);
    fill(drawing.data.slice(14 * i + 7, 14 * i + 14), panel.handoff, quantity, gamma, residents, own);
    const crossing = crossingOf(panel, gamma, residents);
    mark(drawing.layout, i, crossing);
    readings.push(read(panel, crossing));
    axis(drawing.layout, "x", i).range = view.x_range;
    const y = axis(drawing.layout, "y", i);
    for (const key of [...Object.keys(costs.log_axis), "rangemode"]) delete y[key];
    Object.assign(y, quantity === "stall" ? {type: "linear", rangemode: "tozero"} : clone(costs.log_axis));
    y.title.text = costs.quantities[quantity];
  });
  document.getElementById("readout").replaceChildren(...readings);
  document.getElementById("gamma-shown").textContent = gamma;
  document.getElementById("residents-shown").textContent = residents;
  document.getElementById("own").disabled = own;
  const missing = quantity !== "ttft" && view.panels.some(({append}) => !append.stall_ms[residents]);
  document.getElementById("costs-note").textContent =
    missing ? `The cost at N = ${residents} was not computed; only r* was.`
      : own ? "" : `Simulated dots and waits are known at gamma = ${costs.gamma}, N = ${costs.streams} only.`;
  return drawing;
}

function toOwn() {
  gammaSlider.value = costs.gammas.indexOf(costs.gamma);
  residentsSlider.value = costs.residents.indexOf(costs.streams);
}

gammaSlider.max = costs.gammas.length - 1;
residentsSlider.max = costs.residents.length - 1;
toOwn();
if (Object.keys(costs.views).length) redrawn.costs = drawCosts;
for (const slider of [gammaSlider, residentsSlider]) slider.addEventListener("input", () => show("costs"));
document.getElementById("own").addEventListener("click", () => { toOwn(); show("costs"); });
showAll();
