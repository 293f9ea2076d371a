// Calls of the API. The token, where one is needed, lives in this tab only and travels in a header.

import { sayRefusal } from "./words.js";

const BASE = "/api/v1";

export class Refused extends Error {
  constructor(problem) {
    super(sayRefusal(problem.code) || [problem.detail, problem.hint].filter(Boolean).join(" "));
    this.status = problem.status;
    this.code = problem.code;
  }
}

function headers(more) {
  const token = sessionStorage.getItem("token");
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

export async function call(method, path, { accept = "application/json", signal } = {}) {
  const reply = await fetch(BASE + path, { method, headers: headers({ Accept: accept }), signal });
  if (reply.ok) return reply;
  throw await refusal(reply);
}

async function refusal(reply) {
  let problem = { status: reply.status, detail: `${reply.status} ${reply.statusText}` };
  try {
    problem = await reply.json();
  } catch {
    // the answer was no problem document; the status says enough
  }
  if (reply.status === 401) askForToken();
  return new Refused(problem);
}

export async function get(path, options) {
  return (await call("GET", path, options)).json();
}

export async function post(path) {
  return (await call("POST", path)).json();
}

function askForToken() {
  const form = document.getElementById("token");
  form.hidden = false;
  form.onsubmit = (submitted) => {
    submitted.preventDefault();
    sessionStorage.setItem("token", form.querySelector("input").value);
    location.reload();
  };
}

// Server-Sent Events by fetch, because EventSource cannot send a header.
export async function* events(path, signal, lastId) {
  const extra = lastId ? { "Last-Event-ID": String(lastId) } : {};
  const reply = await fetch(BASE + path, {
    headers: headers({ Accept: "text/event-stream", ...extra }),
    signal,
  });
  if (!reply.ok) throw await refusal(reply);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    kept += value;
    let end;
    while ((end = kept.indexOf("\n\n")) >= 0) {
      const event = parse(kept.slice(0, end));
      kept = kept.slice(end + 2);
      if (event.data) yield event;
    }
  }
}

function parse(block) {
  const event = { kind: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) event.id = line.slice(4);
    else if (line.startsWith("event: ")) event.kind = line.slice(7);
    else if (line.startsWith("data: ")) event.data += line.slice(6);
  }
  return event;
}

export async function download(path, name) {
  const reply = await call("GET", path, { accept: "*/*" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await reply.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
