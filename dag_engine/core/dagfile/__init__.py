"""The DAG file: reading, checking and writing what a front end posts."""

from dag_engine.core.dagfile.checking import SealedNames, find_dataset_ids
from dag_engine.core.dagfile.document import DagDocument, Edge, Operator, RunSection
from dag_engine.core.dagfile.faces import accept_dag, check_dag, read_dag
from dag_engine.core.dagfile.reading import JSON, YAML
from dag_engine.core.errors import DagFileError
from dag_engine.core.problems import Problem

__all__ = [
    "JSON",
    "YAML",
    "DagDocument",
    "DagFileError",
    "Edge",
    "Operator",
    "Problem",
    "RunSection",
    "SealedNames",
    "accept_dag",
    "check_dag",
    "find_dataset_ids",
    "read_dag",
]
