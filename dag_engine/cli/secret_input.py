"""How a command is given a secret: by a prompt, the standard input or a file; never by an argument,
which stands in the shell's history and in the list of processes.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Any

import click

from dag_engine.cli.errors import CliError, UsageError
from dag_engine.core.connections import leads_somewhere
from dag_engine.core.names import NAME_RULE, is_name


def check_name(name: str) -> str:
    """Give a name back, or say which ones there can be."""
    if not is_name(name):
        # What was given may be the secret itself.
        raise UsageError(f"A name has {NAME_RULE}.")
    return name


def read_secret(file: str | None, prompt: str) -> str:
    """Read a secret: from a file (`-` is the standard input), from a pipe, or from the keyboard
    without showing it. One line break at the end is not a part of it.
    """
    if file is not None and file != "-":
        return _strip(_read_file(Path(file)))
    if file is None and sys.stdin.isatty():
        typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True)
        return _check_some(typed)
    return _strip(sys.stdin.buffer.read())


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from error


def _strip(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(
            f"A secret is UTF-8 text, and this is not (byte {error.start}).\nStore bytes as base64."
        ) from error
    return _check_some(text.removesuffix("\n").removesuffix("\r"))


def _check_some(text: str) -> str:
    if not text:
        raise UsageError("Nothing came: the secret is empty.")
    return text


def read_connection(text: str) -> dict[str, Any]:
    """Understand a connection: a URL, or a YAML or JSON mapping with `url` or the parts of one."""
    import yaml

    if "\n" not in text and "://" in text and not text.lstrip().startswith(("{", "url:")):
        return {"url": text.strip()}
    try:
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        # Nothing of the text may stand in the message.
        raise UsageError(
            "A connection was expected: a URL such as mysql+pymysql://user:password@host/database, "
            "or a mapping with url, or with drivername, host, username, password and database."
        )
    check_connection(found)
    return found


def check_connection(settings: dict[str, Any]) -> None:
    """Refuse settings that name no database."""
    if not leads_somewhere(settings):
        raise UsageError("A connection needs url, or drivername with the other parts of one.")


def current_user() -> str:
    """Name who runs this command, for the record."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
