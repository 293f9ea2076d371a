"""What an operator engine announces: its algorithms with their ports, and its executors."""

from __future__ import annotations

from typing import Any

import msgspec


class _Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what is announced: defaults are left out of the JSON."""


class PortSpec(_Offer, frozen=True, kw_only=True):
    """A declared port: `type` is `table`, `model`, `report`, `file`, a union of them, or `any`."""

    name: str
    type: str
    is_optional: bool = False
    is_many: bool = False


class AlgorithmOffer(_Offer, frozen=True, kw_only=True):
    """An algorithm as an operator engine announces it.

    `params_schema` is the JSON Schema (2020-12) of the parameters; `digest` is that of the
    defining file, and `code_version` is `<version>+<first 12 digits of the digest>`.
    `deprecated_params` names parameters that old files carry and that are translated or ignored
    with a warning in the task's log.
    """

    name: str
    entry: str
    version: str
    code_version: str
    family: str = ""
    title: str = ""
    title_zh: str = ""
    doc: str = ""
    inputs: list[PortSpec] = []
    outputs: list[PortSpec] = []
    params_schema: dict[str, Any] = {}
    deprecated_params: list[str] = []
    is_cacheable: bool = True
    source: str = ""


class ExecutorOffer(_Offer, frozen=True, kw_only=True):
    """An executor as an operator engine announces it: its name, the `data_type` labels it serves,
    its slots.
    """

    name: str
    data_types: list[str] = []
    slots: int = 1
    kind: str = ""
