// Who the service takes this page for, and what that allows; asked once, when the page is opened.

import { get } from "./api.js";
import { onLanguage, say, sayRole } from "./words.js";

const ROLES = ["viewer", "submitter", "operator", "admin"];
let caller = null;

export function may(role) {
  return caller !== null && ROLES.indexOf(caller.role) >= ROLES.indexOf(role);
}

function show() {
  if (!caller?.name) return;
  document.getElementById("caller").textContent = say("caller", caller.name, sayRole(caller.role), caller.namespace);
}

export async function startAccess() {
  onLanguage(show);
  caller = await get("/caller");
  show();
}
