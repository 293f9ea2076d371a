"""What skops puts into a file and takes out of it, without its detours.

Its public functions write the schema with a pure Python encoder and read an archive's members one
by one, several times; a model of a hundred trees took half a second from operator to operator. The
functions called here are the ones that those call, in the same order. A skops that has them no
longer is used by its public face.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

SCHEMA = "schema.json"
_PLAIN_LOADERS = frozenset(
    {"DictNode", "JsonNode", "ListNode", "LossNode", "NdArrayNode", "ObjectNode"}
    | {"RandomStateNode", "TreeNode", "TupleNode", "TypeNode"}
)
"""Nodes of which skops trusts or distrusts the type alone, and nothing else that they say."""

Kind = tuple[Any, Any, Any]
"""A node's loader, and module and name of its class."""

_sound: set[Kind] = set()
"""Types that were found sound, with their loaders, in models that this process has written."""


class Members(dict[str, bytes]):
    """The members of an archive by name, with as much of `zipfile.ZipFile` as skops uses."""

    def writestr(self, name: str, data: Any) -> None:
        """Add a member."""
        self[name] = bytes(data)

    def namelist(self) -> Mapping[str, bytes]:
        """Return what tells whether a name is there."""
        return self

    def read(self, name: str) -> bytes:
        """Return a member's bytes."""
        return self[name]


def take_apart(value: Any) -> tuple[dict[str, Any], Members]:
    """Return the schema of an object, and the files that it refers to."""
    import skops.io

    try:
        from skops.io._utils import SaveContext, get_state
    except ImportError:
        with zipfile.ZipFile(io.BytesIO(skops.io.dumps(value))) as archive:
            members = Members((name, archive.read(name)) for name in archive.namelist())
        return json.loads(members.pop(SCHEMA)), members
    members = Members()
    context = SaveContext(zip_file=members)
    state = get_state(value, context)
    context.clear_memo()
    state["protocol"] = context.protocol
    state["_skops_version"] = skops.__version__
    return state, members


def put_together(members: Members, trusted: tuple[str, ...]) -> Any:
    """Return the object that the members of a file stand for, if all of its types are trusted."""
    import skops.io

    named = [name for name in trusted if _quote_class(name) in members[SCHEMA]]
    try:
        from skops.io._audit import audit_tree, get_tree
        from skops.io._utils import read_schema
    except ImportError:
        return skops.io.loads(_pack(members), trusted=named)
    schema, context = read_schema(members)
    tree = get_tree(schema, context, trusted=named)
    audit_tree(tree, trusted=named)
    return tree.construct()


def find_untrusted(kinds: set[Kind], data: bytes, trusted: tuple[str, ...]) -> set[str]:
    """Return the types of a file just written that neither skops trusts nor the list.

    This is to tell early: whoever reads a file checks it in any case.
    """
    import skops.io

    if all(kind[0] in _PLAIN_LOADERS for kind in kinds) and kinds <= _sound:
        return set()
    untrusted = set(skops.io.get_untrusted_types(data=data)) - set(trusted)
    _sound.update(kind for kind in kinds if f"{kind[1]}.{kind[2]}" not in untrusted)
    return untrusted


@contextlib.contextmanager
def pause_collecting() -> Iterator[None]:
    """Keep the collector of cycles from looking, over and over, at a model that is being made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _quote_class(name: str) -> bytes:
    return json.dumps(name.rpartition(".")[2]).encode()


def _pack(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()
