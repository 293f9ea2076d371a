// The list of runs, read again every two seconds while the page is seen.

import { startAccess } from "./access.js";
import { get } from "./api.js";
import { duration, fillProgress, make, moment, showMessage, stateBadge } from "./parts.js";
import { onLanguage, say, sayState, startLanguage } from "./words.js";

const STATES = ["pending", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"];
const PAGE = 50;
const rows = document.getElementById("rows");
const filter = document.getElementById("state");
const more = document.getElementById("more");
let shown = PAGE;
let runs = [];
let isLoaded = false;

function fillFilter() {
  const chosen = filter.value;
  filter.replaceChildren(
    make("option", { value: "", textContent: say("all") }),
    ...STATES.map((state) => make("option", { value: state, textContent: sayState(state) })),
  );
  filter.value = chosen;
}

function row(run) {
  const link = make("a", { href: `/runs/${encodeURIComponent(run.id)}`, textContent: run.id });
  const done = `${(run.tasks.succeeded ?? 0) + (run.tasks.skipped ?? 0)}/${run.n_tasks}`;
  const bar = fillProgress(make("div", { className: "progress small" }), run.tasks, run.n_tasks);
  return make(
    "tr", {},
    make("td", {}, link),
    make("td", { textContent: run.dag_name || run.dag_id }),
    make("td", {}, stateBadge(run.state), run.message ? make("small", { textContent: run.message }) : null),
    make("td", {}, done, bar),
    make("td", { textContent: moment(run.created_at) }),
    make("td", { textContent: duration(run.started_at, run.ended_at) }),
  );
}

function show() {
  rows.replaceChildren(...runs.map(row));
  document.getElementById("empty").hidden = !isLoaded || runs.length > 0;
}

async function refresh() {
  try {
    const state = filter.value ? `&state=${filter.value}` : "";
    const page = await get(`/runs?limit=${shown}${state}`);
    runs = page.items;
    isLoaded = true;
    more.hidden = !page.next_cursor || shown >= 1000;
    showMessage("");
    show();
  } catch (error) {
    showMessage(error.message);
  }
}

async function follow() {
  if (!document.hidden) await refresh();
  setTimeout(follow, 2000);
}

filter.addEventListener("change", refresh);
more.addEventListener("click", () => {
  shown = Math.min(1000, shown + 4 * PAGE);
  refresh();
});
onLanguage(() => {
  fillFilter();
  show();
});
startLanguage();
startAccess().catch((error) => showMessage(error.message));
follow();
