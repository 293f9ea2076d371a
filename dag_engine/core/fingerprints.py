"""What decides the result of an operator, as one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from executors.base import AlgorithmOffer, DatasetRef

InputPrints = list[list[list[Any]]]


def make_fingerprint(
    offer: AlgorithmOffer,
    params: Mapping[str, Any],
    datasets: Mapping[str, DatasetRef],
    inputs: InputPrints,
) -> str:
    """Digest the algorithm, its code version, the parameters, the data set versions and, for every
    edge of every input port, the fingerprint that comes in and the output port it comes from.

    A seed that the parameters leave open (null) counts as null: two runs of the same operator have
    the same fingerprint whatever numbers they drew.
    """
    return digest([offer.name, offer.code_version, params, list_versions(datasets), inputs])


def list_versions(datasets: Mapping[str, DatasetRef]) -> list[list[Any]]:
    """List what tells versions of data sets apart, in the order of their ids."""
    return [[ref.id, ref.version, ref.sha256] for _, ref in sorted(datasets.items())]


def digest(content: Any) -> str:
    """Digest plain data; mappings count whatever the order of their keys."""
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
