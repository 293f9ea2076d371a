"""The pages for people: plain static files."""

from __future__ import annotations

from pathlib import Path

from flask import Response, send_from_directory

from dag_engine.api.calls import Answer, Resource
from dag_engine.api.guard import DOCS_POLICY, PAGE_POLICY
from dag_engine.core.access import Role

WEB = Path(__file__).resolve().parents[2] / "web"
HTML = "text/html"

pages = Resource("pages", "Pages", prefix="")
_PAGE = {200: Answer("The page.", types=(HTML,))}


def _page(name: str, policy: str = PAGE_POLICY, folder: Path = WEB) -> Response:
    response = send_from_directory(folder, name, max_age=0)
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cache-Control"] = "no-cache"
    return response


@pages.call("GET", "/", _PAGE, role=Role.ANYBODY)
def page_runs(query: object) -> Response:
    """Show the list of runs."""
    return _page("index.html")


@pages.call("GET", "/runs/<word:run_id>", _PAGE, role=Role.ANYBODY)
def page_run(query: object, run_id: str) -> Response:
    """Show one run, live."""
    return _page("run.html")


@pages.call("GET", "/docs", _PAGE, role=Role.ANYBODY)
def page_docs(query: object) -> Response:
    """Show the interactive documentation of the API."""
    return _page("docs.html", DOCS_POLICY)


@pages.call(
    "GET", "/static/<path:name>", {200: Answer("The file.", types=("*/*",))}, role=Role.ANYBODY
)
def page_file(query: object, name: str) -> Response:
    """Give a file that a page is made of."""
    folder, _, rest = name.partition("/")
    if folder == "vendor":
        return _page(rest, folder=WEB / "vendor")
    return _page(name, folder=WEB / "static")
