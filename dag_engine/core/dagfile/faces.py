"""Reads and checks DAG files: what the rest of the dag engine calls."""

from __future__ import annotations

from collections.abc import Collection

from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile.checking import (
    EVERY_NAME,
    KnownDatasets,
    SealedNames,
    Surroundings,
    check_document,
)
from dag_engine.core.dagfile.document import DagDocument
from dag_engine.core.dagfile.reading import read_tree
from dag_engine.core.dagfile.structure import read_structure
from dag_engine.core.errors import DagFileError
from dag_engine.core.problems import Problem


def read_dag(data: bytes, media_type: str) -> DagDocument:
    """Read a DAG file of type `application/yaml` or `application/json`.

    Raises `DagFileError` with all problems that can be told without a catalogue.
    """
    document = _read(data, media_type)
    if document.collector:
        raise DagFileError(document.collector.finish())
    return document


def check_dag(
    document: DagDocument,
    catalogue: Catalogue,
    *,
    dataset_ids: KnownDatasets | None = None,
    queues: Collection[str] | None = None,
    sealed: SealedNames = EVERY_NAME,
    default_executor: str = "local",
) -> list[Problem]:
    """List in what a sound document does not fit the catalogue; an empty list means that it can
    run.

    `dataset_ids` is a collection of the registered ids or a question about one id; None for it or
    `queues` takes every name; `sealed` names the connections and secrets.
    """
    collector = document.collector.make_empty()
    around = Surroundings(catalogue, dataset_ids, queues, sealed, default_executor)
    check_document(document, around, collector)
    return collector.finish()


def accept_dag(
    data: bytes,
    media_type: str,
    catalogue: Catalogue,
    *,
    dataset_ids: KnownDatasets | None = None,
    queues: Collection[str] | None = None,
    sealed: SealedNames = EVERY_NAME,
    default_executor: str = "local",
) -> DagDocument:
    """Read and check a DAG file in one go; raises `DagFileError` with all problems of both."""
    document = _read(data, media_type)
    around = Surroundings(catalogue, dataset_ids, queues, sealed, default_executor)
    document.checked = check_document(document, around, document.collector)
    if document.collector:
        raise DagFileError(document.collector.finish())
    return document


def _read(data: bytes, media_type: str) -> DagDocument:
    tree = read_tree(data, media_type)
    return read_structure(tree.value, tree.collector, data, media_type)
