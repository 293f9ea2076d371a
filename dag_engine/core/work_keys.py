"""By what a task's work is known: equal keys mean that a former result may stand in.

A key is made of the algorithm's name and code version, the parameters, the versions of the data
sets, what the named connections and secrets stand for, and the digests of the inputs. A result that
hangs on the seed is known by the key with the seed, any other by the key alone: only whoever has
done the work knows which, so a former result is looked up under both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dag_engine.core.fingerprints import digest, list_versions
from dag_engine.core.live import LiveRun, LiveTask, WorkKeys, find_input
from dag_engine.core.plan import PlannedTask
from executors.base import AlgorithmOffer, ArtifactRef, DatasetRef

Inputs = list[list[ArtifactRef]]
_LONGEST_CHAIN = 16
FITTED_ON = "fitted_on"
"""Where the facts of a model keep the reference of the table that it was fitted on."""


def make_work_base(
    offer: AlgorithmOffer,
    params: Mapping[str, Any],
    datasets: Mapping[str, DatasetRef],
    sealed: Mapping[tuple[str, str], str],
) -> str:
    """Digest what is known of a task before it has inputs; empty where something is not pinned.

    A data set without a digest may be another one tomorrow, and so may a connection of which nobody
    can tell the version.
    """
    if any(not ref.sha256 for ref in datasets.values()) or not all(sealed.values()):
        return ""
    names = [[*key, version] for key, version in sorted(sealed.items())]
    versions = list_versions(datasets)
    return digest([offer.name, offer.code_version, params, versions, names])


def make_work_keys(plan: PlannedTask, inputs: Inputs) -> WorkKeys:
    """Make the keys of a planned task from what its input ports bring."""
    prints = [[print_artifact(ref) for ref in port] for port in inputs]
    plain = digest([plan.work_base, prints])
    return WorkKeys(plain, digest([plain, plan.seed]))


def find_keys(run: LiveRun, task: LiveTask) -> WorkKeys | None:
    """Return the keys of a task whose inputs are all there; None where it has nothing to do with
    former results.
    """
    plan = task.plan
    if plan.cache == "off" or not plan.work_base:
        return None
    if task.keys is None:
        inputs = [[find_input(run, edge) for edge in port] for port in plan.inputs]
        task.keys = make_work_keys(plan, inputs)
    return task.keys


def print_artifact(ref: ArtifactRef) -> list[Any]:
    """List what tells an artifact from others, wherever it lies.

    A model brings the table that it was fitted on: an algorithm may read that, too.
    """
    return _print(ref, _LONGEST_CHAIN)


def _print(ref: ArtifactRef, left: int) -> list[Any]:
    # Whoever reports a value names a digest, and could name one of something else.
    content = ref.sha256 if ref.inline is None else digest(ref.inline)
    facts = {name: value for name, value in ref.meta.items() if name != FITTED_ON}
    fitted_on: list[Any] = []
    if (table := find_fitted_on(ref)) is not None and left:
        fitted_on = _print(table, left - 1)
    return [ref.type, content, ref.size_bytes, facts, fitted_on]


def find_fitted_on(ref: ArtifactRef) -> ArtifactRef | None:
    """Return the table that a model was fitted on, where that is known."""
    told = ref.meta.get(FITTED_ON)
    if told is None:
        return None
    try:
        return msgspec.convert(told, ArtifactRef)
    except msgspec.ValidationError:  # claims are checked; what was stored before they were is not
        return None
