// Small pieces that both pages are made of. Text goes in as text, never as HTML.

import { locale, say, sayState } from "./words.js";

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const ORDER = [
  "succeeded", "failed", "upstream_failed", "cancelled", "skipped", "running", "queued", "retrying", "ready", "pending",
];

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function stateBadge(state, element = document.createElement("span")) {
  element.className = `state state-${state}`;
  element.textContent = sayState(state);
  return element;
}

export function fillProgress(element, counts, total) {
  const parts = ORDER.filter((state) => counts[state]).map((state) => {
    const part = make("i", { className: `state-${state}`, title: `${sayState(state)}: ${counts[state]}` });
    part.style.width = `${(100 * counts[state]) / Math.max(1, total)}%`;
    return part;
  });
  element.replaceChildren(...parts);
  return element;
}

export function moment(text) {
  return text ? new Date(text).toLocaleString(locale(), { dateStyle: "short", timeStyle: "medium" }) : "";
}

export function duration(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, ((to ? new Date(to) : new Date()) - new Date(from)) / 1000);
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const clock = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, "0"));
  return `${Math.floor(whole / 3600)}:${clock.join(":")}`;
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let place = 0;
  while (value >= 1024 && place < units.length - 1) {
    value /= 1024;
    place += 1;
  }
  return `${place ? value.toFixed(1) : value} ${units[place]}`;
}

export function showMessage(text) {
  const element = document.getElementById("message");
  element.textContent = text;
  element.hidden = !text;
}

export function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined) continue;
    list.append(make("dt", { textContent: say(name) }), make("dd", {}, value));
  }
  return list;
}
