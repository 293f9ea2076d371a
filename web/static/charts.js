// Evaluation reports: figures, confusion matrix and the curves as SVG, ROC first.

import { make } from "./parts.js";
import { inOwnWords, say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 260;
const LEFT = 46;
const TOP = 10;
const FIGURES = ["auc", "ks", "accuracy", "precision", "recall", "f1", "log_loss"];
const CELLS = ["true_negative", "false_positive", "false_negative", "true_positive"];
const chosenCurves = new Map();

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const across = (share) => LEFT + share * SIDE;
const down = (share) => TOP + (1 - share) * SIDE;
const tick = (value) => String(Number(value.toPrecision(3)));

// Curves of shares are drawn from 0 to 1; others, such as the lift, up to their highest value.
function reach(values) {
  const highest = Math.max(...values.filter(Number.isFinite), 0);
  return highest <= 1 ? 1 : highest;
}

function frame(chart, xMost, yMost) {
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    chart.append(
      draw("path", {
        class: "grid", d: `M${across(share)} ${down(0)}V${down(1)}M${across(0)} ${down(share)}H${across(1)}`,
      }),
      draw("text", { x: across(share), y: down(0) + 15, "text-anchor": "middle" }, tick(share * xMost)),
      draw("text", { x: LEFT - 6, y: down(share) + 4, "text-anchor": "end" }, tick(share * yMost)),
    );
  }
}

function line(xs, ys, xMost, yMost) {
  const points = xs
    .map((x, place) => [x, ys[place]])
    .filter((point) => point.every(Number.isFinite))
    .map(([x, y]) => `${across(x / xMost).toFixed(1)} ${down(y / yMost).toFixed(1)}`);
  return points.length > 1 ? `M${points.join("L")}` : "";
}

export function curveChart(name, curve) {
  const xs = curve.x.values;
  const xMost = reach(xs);
  const yMost = reach(curve.y.flatMap((series) => series.values));
  const chart = draw("svg", {
    viewBox: `0 0 ${LEFT + SIDE + 14} ${TOP + SIDE + 40}`, class: "chart", role: "img", "aria-label": inOwnWords(curve),
  });
  frame(chart, xMost, yMost);
  if (name === "roc") {
    chart.append(
      draw("path", { class: "chance", d: `M${across(0)} ${down(0)}L${across(1)} ${down(1)}` }),
      draw("path", { class: "area", d: `${line(xs, curve.y[0].values, 1, 1)}L${across(1)} ${down(0)}L${across(0)} ${down(0)}Z` }),
    );
  }
  curve.y.forEach((series, place) => {
    const path = draw("path", { class: `curve curve-${place}`, d: line(xs, series.values, xMost, yMost) });
    path.append(draw("title", {}, inOwnWords(series)));
    chart.append(path);
  });
  const sides = curve.y.map(inOwnWords).join(" / ");
  chart.append(
    draw("path", { class: "axis", d: `M${across(0)} ${down(1)}V${down(0)}H${across(1)}` }),
    draw("text", { x: across(0.5), y: down(0) + 32, "text-anchor": "middle" }, inOwnWords(curve.x)),
    draw("text", { x: 11, y: down(0.5), "text-anchor": "middle", transform: `rotate(-90 11 ${down(0.5)})` }, sides),
  );
  return chart;
}

function curveChooser(operator, curves) {
  const names = Object.keys(curves).filter((name) => curves[name]?.x?.values?.length && curves[name].y?.length);
  if (!names.length) return null;
  const holder = make("div", { className: "curves" });
  const choice = make(
    "select", { ariaLabel: say("curve") },
    ...names.map((name) => make("option", { value: name, textContent: inOwnWords(curves[name]) || name })),
  );
  const show = () => {
    chosenCurves.set(operator, choice.value);
    holder.replaceChildren(choice, curveChart(choice.value, curves[choice.value]));
  };
  choice.value = names.includes(chosenCurves.get(operator)) ? chosenCurves.get(operator) : names[0];
  choice.addEventListener("change", show);
  show();
  return holder;
}

function figure(name, value) {
  const title = make("small", { textContent: name.replaceAll("_", " ").toUpperCase() });
  return make("div", {}, title, make("b", { textContent: value.toFixed(4) }));
}

function confusionTable(matrix) {
  if (!matrix || CELLS.some((name) => !Number.isFinite(matrix[name]))) return null;
  const [trueNegative, falsePositive, falseNegative, truePositive] = CELLS.map((name) => matrix[name]);
  const head = (word) => make("th", { className: "figure", textContent: `${say("predicted")}: ${say(word)}` });
  const row = (word, ...values) => make(
    "tr", {},
    make("th", { textContent: `${say("actual")}: ${say(word)}` }),
    ...values.map((value) => make("td", { className: "figure", textContent: value })),
  );
  return make(
    "table", {},
    make("caption", { className: "quiet", textContent: say("confusion") }),
    make("tr", {}, make("th"), head("negative"), head("positive")),
    row("negative", trueNegative, falsePositive),
    row("positive", falseNegative, truePositive),
  );
}

export function reportCard(operator, title, report) {
  const known = FIGURES.filter((name) => Number.isFinite(report[name]));
  if (!known.length) return null;
  return make(
    "div", { className: "card" },
    make("h2", { textContent: `${say("report")} · ${title}` }),
    make("div", { className: "figures" }, ...known.map((name) => figure(name, report[name]))),
    make(
      "div", { className: "side-by-side" },
      curveChooser(operator, report.curves ?? {}),
      confusionTable(report.confusion_matrix),
    ),
  );
}
