// Evaluation reports: figures, confusion matrix and the ROC curve as SVG.

import { make } from "./parts.js";
import { say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 260;
const LEFT = 42;
const TOP = 10;
const FIGURES = ["auc", "ks", "accuracy", "precision", "recall", "f1", "log_loss"];

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const across = (share) => LEFT + share * SIDE;
const down = (share) => TOP + (1 - share) * SIDE;

// Points of a curve: {fpr: [...], tpr: [...]}, or a list of pairs or of objects.
function pairs(curve, x, y) {
  if (Array.isArray(curve)) {
    return curve.map((point) => (Array.isArray(point) ? point : [point[x] ?? point.x, point[y] ?? point.y]));
  }
  const first = curve?.[x] ?? curve?.x ?? [];
  const second = curve?.[y] ?? curve?.y ?? [];
  return first.map((value, place) => [value, second[place]]);
}

export function rocChart(curve) {
  const points = pairs(curve, "fpr", "tpr").filter((point) => point.every(Number.isFinite));
  if (points.length < 2) return null;
  const chart = draw("svg", {
    viewBox: `0 0 ${LEFT + SIDE + 14} ${TOP + SIDE + 40}`, class: "chart", role: "img", "aria-label": say("roc"),
  });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const grid = `M${across(share)} ${down(0)}V${down(1)}M${across(0)} ${down(share)}H${across(1)}`;
    chart.append(
      draw("path", { class: "grid", d: grid }),
      draw("text", { x: across(share), y: down(0) + 15, "text-anchor": "middle" }, share),
      draw("text", { x: LEFT - 6, y: down(share) + 4, "text-anchor": "end" }, share),
    );
  }
  const line = points.map(([x, y]) => `${across(x).toFixed(1)} ${down(y).toFixed(1)}`).join("L");
  chart.append(
    draw("path", { class: "chance", d: `M${across(0)} ${down(0)}L${across(1)} ${down(1)}` }),
    draw("path", { class: "area", d: `M${line}L${across(1)} ${down(0)}L${across(0)} ${down(0)}Z` }),
    draw("path", { class: "curve", d: `M${line}` }),
    draw("path", { class: "axis", d: `M${across(0)} ${down(1)}V${down(0)}H${across(1)}` }),
    draw("text", { x: across(0.5), y: down(0) + 32, "text-anchor": "middle" }, say("false_positive_rate")),
    draw(
      "text",
      { x: 11, y: down(0.5), "text-anchor": "middle", transform: `rotate(-90 11 ${down(0.5)})` },
      say("true_positive_rate"),
    ),
  );
  return chart;
}

function figure(name, value) {
  const shown = Number.isInteger(value) ? value : value.toFixed(4);
  return make("div", {}, make("small", { textContent: name.replaceAll("_", " ").toUpperCase() }), make("b", { textContent: shown }));
}

function confusionTable(matrix) {
  const cell = (name) => matrix?.[name] ?? matrix?.[{ tp: "true_positive", fp: "false_positive", fn: "false_negative", tn: "true_negative" }[name]];
  const rows = Array.isArray(matrix) ? matrix : [[cell("tn"), cell("fp")], [cell("fn"), cell("tp")]];
  if (rows.length !== 2 || rows.flat().some((value) => value === undefined)) return null;
  const head = (word, side) => make("th", { className: "figure", textContent: `${say(side)}: ${say(word)}` });
  return make(
    "table", {},
    make("caption", { className: "quiet", textContent: say("confusion") }),
    make("tr", {}, make("th"), head("negative", "predicted"), head("positive", "predicted")),
    ...rows.map((row, place) => make(
      "tr", {},
      make("th", { textContent: `${say("actual")}: ${say(place ? "positive" : "negative")}` }),
      ...row.map((value) => make("td", { className: "figure", textContent: value })),
    )),
  );
}

// Figures may stand at the top of a report or under `metrics`; curves at the top or under `curves`.
export function reportCard(title, report) {
  const numbers = { ...report, ...report.metrics };
  const known = FIGURES.filter((name) => Number.isFinite(numbers[name]));
  if (!known.length) return null;
  const curve = report.roc ?? report.curves?.roc ?? report.charts?.roc;
  return make(
    "div", { className: "card" },
    make("h2", { textContent: `${say("report")} · ${title}` }),
    make("div", { className: "figures" }, ...known.map((name) => figure(name, numbers[name]))),
    curve ? rocChart(curve) : null,
    confusionTable(report.confusion_matrix ?? report.confusion ?? numbers.confusion_matrix),
  );
}
