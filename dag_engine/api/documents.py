"""DAG files on their way in: read, checked against the catalogue, made ready to be stored."""

from __future__ import annotations

from collections.abc import Collection

from flask import request

from dag_engine.api.access import caller
from dag_engine.api.bodies import DAG_LIMIT_BYTES, dag_media_type, read_body
from dag_engine.api.calls import JSON, YAML, YAML_TYPES, Answer, Body
from dag_engine.api.errors import NotAcceptableError
from dag_engine.api.services import Services
from dag_engine.core.dagfile import DagDocument, accept_dag
from dag_engine.storage import datasets as stored_datasets
from dag_engine.storage.rows import NewDag, NewEdge, NewOperator
from executors.base import DatasetRef

DAG_BODY = Body((*YAML_TYPES, JSON), "DagFile", "The DAG file, as the front end writes it.")
DAG_ANSWER_TYPES = (JSON, YAML)


class Known:
    """What the caller's DAG files may name: made for one request, which asks for nothing twice."""

    def __init__(self, services: Services) -> None:
        self.catalogue = services.catalogue()
        self.sealed = services.sealed_names(caller().namespace)
        self._services = services
        self._datasets: dict[str, DatasetRef] = {}

    def has_dataset(self, dataset_id: str) -> bool:
        """Tell whether there is such a dataset."""
        return dataset_id in self.find_datasets({dataset_id})

    def find_datasets(self, dataset_ids: Collection[str]) -> dict[str, DatasetRef]:
        """Find the latest versions; ids that do not exist are left out."""
        wanted = [one for one in dataset_ids if one not in self._datasets]
        if wanted:
            self._datasets |= stored_datasets.find_datasets(
                self._services.database, caller().namespace, wanted
            )
        return {one: self._datasets[one] for one in dataset_ids if one in self._datasets}


def read_document(services: Services) -> DagDocument:
    """Read and check the DAG file in the body; raises `DagFileError` with all its problems."""
    data = read_body(DAG_LIMIT_BYTES)
    return check_document(services, data, dag_media_type(), Known(services))


def check_document(services: Services, data: bytes, media_type: str, known: Known) -> DagDocument:
    """Read and check a DAG file."""
    config = services.config
    return accept_dag(
        data,
        media_type,
        known.catalogue,
        dataset_ids=known.has_dataset,
        queues=set(config.queues) | {config.run_defaults.queue},
        sealed=known.sealed,
        default_executor=config.run_defaults.executor,
    )


def describe_document(document: DagDocument) -> NewDag:
    """Make of a checked file what is stored of it."""
    return NewDag(
        namespace=caller().namespace,
        name=document.name,
        description=document.description,
        digest=document.digest,
        source=document.source,
        media_type=document.media_type,
        created_by=caller().mark,
        operators=[
            NewOperator(
                operator.id,
                operator.algorithm,
                operator.data_type or "",
                operator.family,
                operator.title,
            )
            for operator in document.operators.values()
        ],
        edges=[
            NewEdge(edge.source, edge.source_port, edge.target, edge.target_port)
            for edge in document.edges
        ],
    )


def wants_yaml() -> bool:
    """Tell whether the client would rather have YAML than JSON."""
    offered = [JSON, *YAML_TYPES]
    best = request.accept_mimetypes.best_match(offered)
    if best is None and request.accept_mimetypes:
        raise NotAcceptableError(
            "not_acceptable",
            f"None of the types in Accept can be given; there is {JSON} and {YAML}.",
        )
    return best is not None and best != JSON


DAG_ANSWER = Answer("The definition.", "Dag", DAG_ANSWER_TYPES)
