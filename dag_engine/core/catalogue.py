"""What the operator engines together offer: algorithms, executors and the labels that choose an
executor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from executors.base import AlgorithmOffer, ExecutorOffer


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that was ever offered and not deregistered; what is away just now still counts.

    `data_types` maps a label of a DAG file (`本地python`) to the name of an executor; `revision`
    changes when anything else does.
    """

    revision: str = ""
    algorithms: dict[str, AlgorithmOffer] = field(default_factory=dict)
    executors: dict[str, ExecutorOffer] = field(default_factory=dict)
    data_types: dict[str, str] = field(default_factory=dict)
