// One run, live: the states of its operators by the event stream, logs, previews and reports.

import { may, startAccess } from "./access.js";
import { download, events, get, post } from "./api.js";
import { reportCard } from "./charts.js";
import { bytes, duration, facts, FINAL, fillProgress, make, moment, showMessage, stateBadge } from "./parts.js";
import { onLanguage, say, sayReason, startLanguage } from "./words.js";

const SHOWN = 1000;
const PREVIEW_ROWS = 50;
const LOG_LIMIT = 400_000;
const runId = decodeURIComponent(location.pathname.split("/").pop());
const path = `/runs/${encodeURIComponent(runId)}`;
const at = (id) => document.getElementById(id);
const reports = new Map();
let run = null;
let tasks = [];
let chosen = null;
let lastEvent = 0;
let logStream = null;
let isStale = true;

const taskPath = (operator) => `${path}/tasks/${encodeURIComponent(operator)}`;

function showRun() {
  if (!run) return;
  document.title = `${run.dag_name || run.id} · DAG engine`;
  at("title").textContent = run.dag_name || run.id;
  stateBadge(run.state, at("run-state"));
  const parts = [
    run.id, `${say("version")} ${run.dag_version}`,
    run.range === "all" ? "" : `${say("range")}: ${run.range} ${run.operators.join(", ")}`,
    run.started_at ? `${say("started")} ${moment(run.started_at)}` : "",
    run.ended_at ? `${say("ended")} ${moment(run.ended_at)}` : "",
    duration(run.started_at, run.ended_at), run.message,
  ];
  at("facts").textContent = parts.filter(Boolean).join(" · ");
  fillProgress(at("progress"), run.tasks, run.n_tasks);
  const isFinal = FINAL.has(run.state);
  const allowed = {
    pause: run.state === "running", resume: ["pausing", "paused"].includes(run.state),
    cancel: !isFinal && run.state !== "cancelling", retry: isFinal && run.state !== "succeeded",
  };
  for (const button of document.querySelectorAll("[data-control]")) button.disabled = !allowed[button.dataset.control];
}

function output(task, item) {
  const name = `${item.type} ${item.port}`;
  const size = item.rows === null || item.rows === undefined ? bytes(item.bytes) : `${item.rows} ${say("rows")}`;
  return make("div", {}, name, make("small", { textContent: size }));
}

function progressOf(task) {
  if (!task.progress || task.state !== "running") return null;
  const { done = 0, total = 0, message = "" } = task.progress;
  const share = total ? `${Math.round((100 * done) / total)} % ` : "";
  return make("small", { textContent: share + message });
}

function row(task) {
  const element = make(
    "tr", { className: task.operator === chosen ? "choice chosen" : "choice", tabIndex: 0 },
    make("td", {}, task.title || task.operator, task.title ? make("small", { textContent: task.operator }) : null),
    make("td", { textContent: task.algorithm }),
    make("td", {}, stateBadge(task.state), progressOf(task)),
    make("td", {}, sayReason(task.reason), task.message ? make("small", { textContent: task.message }) : null),
    make("td", { textContent: task.attempt || "" }),
    make("td", { textContent: duration(task.started_at, task.ended_at) }),
    make("td", {}, ...task.outputs.map((item) => output(task, item))),
  );
  const open = () => choose(task.operator).catch((error) => showMessage(error.message));
  element.addEventListener("click", open);
  element.addEventListener("keydown", (pressed) => {
    if (pressed.key === "Enter") open();
  });
  return element;
}

function showTasks() {
  at("rows").replaceChildren(...tasks.map(row));
  at("rest").hidden = !run || run.n_tasks <= tasks.length;
  at("rest").textContent = say("cut", tasks.length, run?.n_tasks ?? 0);
}

function showReports() {
  const cards = [...reports].map(([operator, report]) => {
    const task = tasks.find((one) => one.operator === operator);
    return reportCard(operator, task?.title || operator, report);
  });
  at("reports").replaceChildren(...cards.filter(Boolean));
}

async function readReports() {
  const wanted = tasks.filter((task) => task.state === "succeeded" && !reports.has(task.operator));
  for (const task of wanted.slice(0, 20)) {
    const item = task.outputs.find((one) => one.type === "report");
    if (!item) continue;
    reports.set(task.operator, {});
    reports.set(task.operator, await get(`${taskPath(task.operator)}/outputs/${item.port}/content`));
  }
  showReports();
}

async function refresh() {
  isStale = false;
  [run, { items: tasks }] = await Promise.all([get(path), get(`${path}/tasks?limit=${SHOWN}`)]);
  showRun();
  showTasks();
  await readReports();
}

// Many events in a moment are one refresh.
async function refreshLoop() {
  if (isStale) {
    try {
      await refresh();
      showMessage("");
    } catch (error) {
      showMessage(error.message);
    }
  }
  setTimeout(refreshLoop, 250);
}

async function follow() {
  try {
    for await (const event of events(`${path}/events?after=${lastEvent}`)) {
      at("link").textContent = say("live");
      isStale = true;
      if (event.kind === "end") {
        at("link").textContent = "";
        return;
      }
      lastEvent = Number(event.id) || lastEvent;
    }
  } catch (error) {
    if (error.status === 404 || error.status === 401) return;
  }
  at("link").textContent = say("broken");
  isStale = true;
  setTimeout(follow, 2000);
}

async function choose(operator) {
  chosen = operator;
  history.replaceState(null, "", `#${encodeURIComponent(operator)}`);
  at("detail").hidden = false;
  showTasks();
  await showDetail();
  at("detail").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function showDetail() {
  const operator = chosen;
  const task = await get(taskPath(operator));
  if (operator !== chosen) return;
  at("detail-title").textContent = task.title ? `${task.title} · ${task.operator}` : task.operator;
  at("attempts").replaceChildren(
    ...task.attempts.map((one) => make("option", { value: one.attempt, textContent: one.attempt })),
  );
  at("attempts").value = String(task.attempts.at(-1)?.attempt ?? "");
  showAttempt(task);
  await showPreviews(task);
}

function showAttempt(task) {
  const number = Number(at("attempts").value);
  const attempt = task.attempts.find((one) => one.attempt === number);
  const metrics = Object.entries(task.metrics).map(([name, value]) => `${name} = ${value}`).join(", ");
  at("detail-facts").replaceChildren(facts([
    ["algorithm", task.algorithm], ["reason", [sayReason(task.reason), task.message].filter(Boolean).join(" · ")],
    ["error", attempt?.message === task.message ? "" : attempt?.message], ["hint", attempt?.hint],
    ["traceback", attempt?.traceback ? make("pre", { className: "log", textContent: attempt.traceback }) : ""],
    ["engine", attempt?.engine], ["worker", attempt?.worker], ["metrics", metrics], ["seed", task.seed],
  ]));
  at("attempts").onchange = () => showAttempt(task);
  followLog(task.operator, number);
}

async function followLog(operator, attempt) {
  logStream?.abort();
  const log = at("log");
  log.textContent = say("no_log");
  if (!attempt) return;
  const stream = new AbortController();
  logStream = stream;
  let text = "";
  try {
    for await (const event of events(`${taskPath(operator)}/attempts/${attempt}/log`, stream.signal)) {
      if (event.kind === "end") return;
      text = (text + JSON.parse(event.data).text).slice(-LOG_LIMIT);
      const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
      log.textContent = text;
      if (isAtEnd) log.scrollTop = log.scrollHeight;
    }
  } catch (error) {
    if (!stream.signal.aborted) log.textContent = text || error.message;
  }
}

async function showPreviews(task) {
  const blocks = [];
  for (const item of task.outputs) {
    const where = `${taskPath(task.operator)}/outputs/${item.port}`;
    const button = make("button", { type: "button", textContent: say("content") });
    button.addEventListener("click", () => download(`${where}/content`, `${task.operator}.${item.port}`)
      .catch((error) => showMessage(error.message)));
    blocks.push(make("h3", {}, `${say("outputs")} ${item.port} · ${item.type} · ${bytes(item.bytes)} `, button));
    if (item.type === "table") blocks.push(await previewTable(where));
  }
  if (task.operator === chosen) at("preview").replaceChildren(...blocks);
}

async function previewTable(where) {
  try {
    const preview = await get(`${where}/preview?limit=${PREVIEW_ROWS}`);
    const head = preview.columns.map((column) => make("th", { title: column.type, textContent: column.name }));
    const body = preview.rows.map((cells) => make("tr", {}, ...cells.map(
      (cell) => make("td", { textContent: cell === null ? "" : typeof cell === "object" ? JSON.stringify(cell) : cell }),
    )));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
    const count = make("small", { textContent: say("first_rows", preview.rows.length, preview.n_rows ?? "?") });
    return make("div", {}, count, make("div", { className: "scroll" }, table));
  } catch (error) {
    return make("p", { className: "message", textContent: error.message });
  }
}

async function control(verb) {
  try {
    const answer = await post(`${path}:${verb}`);
    if (verb === "retry") location.href = `/runs/${encodeURIComponent(answer.id)}`;
    isStale = true;
    showMessage("");
  } catch (error) {
    showMessage(error.message);
  }
}

for (const button of document.querySelectorAll("[data-control]")) {
  button.addEventListener("click", () => control(button.dataset.control));
}
at("close").addEventListener("click", () => {
  chosen = null;
  logStream?.abort();
  at("detail").hidden = true;
  history.replaceState(null, "", location.pathname);
  showTasks();
});
onLanguage(() => {
  showRun();
  showTasks();
  showReports();
  if (chosen) showDetail().catch((error) => showMessage(error.message));
});
setInterval(() => {
  if (run && !FINAL.has(run.state)) {
    showRun();
    showTasks();
  }
}, 1000);
at("title").textContent = runId;
startLanguage();
startAccess()
  .then(() => { at("controls").hidden = !may("submitter"); })
  .catch((error) => showMessage(error.message));
refreshLoop();
follow();
if (location.hash.length > 1) {
  choose(decodeURIComponent(location.hash.slice(1))).catch((error) => showMessage(error.message));
}
