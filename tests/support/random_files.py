"""DAG files drawn at random: sound ones, nearly sound ones, and hostile ones, in YAML and JSON."""

from __future__ import annotations

import json
import random
import re
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from dag_engine.core.dagfile import JSON, YAML, DagDocument, DagFileError, accept_dag, read_dag
from dag_engine.core.plan import RunDefaults
from dag_engine.core.planning import Selection, draft_plan
from tests.support.bad_input.measuring import CPU_BOUND_S, find_bound_s
from tests.support.example_catalogue import make_catalogue

CATALOGUE = make_catalogue()
_IDS = st.from_regex(r"[A-Za-z_\u4e00-\u4e10][\w-]{0,12}", fullmatch=True).filter(
    lambda name: unicodedata.is_normalized("NFC", name)
)
_TITLES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)


class _Dumper(yaml.SafeDumper):
    """Quotes what is a number in YAML 1.2 alone, such as `0E0`, which PyYAML takes for text."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    list("-+.0123456789"),
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TITLES
)
_CANVAS = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TITLES, inner, max_size=3),
    max_leaves=6,
)
_SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "retries": st.integers(0, 5),
        "retry_delay_s": st.floats(0, 100),
        "timeout_s": st.floats(0.5, 1_000),
        "cache": st.sampled_from(["use", "refresh", "off"]),
        "priority": st.integers(-100, 100),
        "on_failure": st.sampled_from(["stop", "continue"]),
        "resources": st.fixed_dictionaries({}, optional={"cpu": st.floats(0.1, 8)}),
        "labels": st.dictionaries(st.sampled_from(["zone", "disk"]), _IDS, max_size=2),
    },
)


@st.composite
def sound_dags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a DAG of operators without parameters, whose edges go forward only."""
    names = draw(st.lists(_IDS, min_size=1, max_size=8, unique=True))
    rels: dict[str, list[dict[str, Any]]] = {}
    for place, source in enumerate(names):
        for target in names[place + 1 :]:
            if draw(st.integers(0, 3)) == 0:
                edge = {"target": target, "source_index": 0, "target_index": 0}
                rels.setdefault(source, []).append(edge)
    details = {}
    for name in names:
        details[name] = {
            "algo_name": "noop",
            "data_type": draw(st.sampled_from(["本地python", "local"])),
            "cn_name": draw(_TITLES),
            "coordinate": {"x": draw(st.floats(-1e6, 1e6)), "y": draw(st.integers(-999, 999))},
            "params": {},
            **({"run": draw(_SECTIONS)} if draw(st.booleans()) else {}),
        }
    dag = {"operator_list": names, "operator_rels": rels, "operator_details": details}
    return {"dag": dag | {"params": draw(st.dictionaries(_TITLES, _CANVAS, max_size=3))}}


@st.composite
def nearly_sound_dags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a sound DAG, and put something else in one to three places of it."""
    dag = draw(sound_dags())
    for _ in range(draw(st.integers(1, 3))):
        container: Any = dag
        while True:
            keys = list(container) if isinstance(container, dict) else range(len(container))
            if not keys:
                break
            key = draw(st.sampled_from(list(keys)))
            inner = container[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
                container = inner
                continue
            container[key] = draw(_CANVAS | st.integers() | st.just({}) | st.just([]))
            break
    return dag


_HOSTILE = st.sampled_from(
    [
        *("&a ", "*a", "!!python/name:os.system ", "<<: ", "\n---\n", "%TAG ! x:\n", '"\\ud800"'),
        *("[" * 70, "{" * 70, "- " * 70, ".nan", "0x" + "f" * 40, "9" * 30, ": ", "? ", ".."),
        *"\x00\u202e\t\r\u2028\n|>'\"@`#,",
    ]
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, str, bool]:
    """Draw a file with its media type, and tell whether it is known to be sound."""
    is_sound = draw(st.booleans())
    dag = draw(sound_dags() if is_sound else nearly_sound_dags())
    media_type = draw(st.sampled_from([YAML, JSON]))
    if media_type == JSON:
        text = json.dumps(
            dag, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1))
        )
    else:
        flow = draw(st.sampled_from([None, True, False]))
        text = yaml.dump(
            dag, Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=flow
        )
    if not is_sound:
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(_HOSTILE) + text[at + draw(st.integers(0, 5)) :]
    return text.encode("utf-8", "surrogatepass"), media_type, is_sound


def any_files(check: Callable[[bytes, str, bool], None]) -> Callable[[], None]:
    """Make a test of a check of one file."""

    @given(texts())
    def test(drawn: tuple[bytes, str, bool]) -> None:
        check(*drawn)

    return test


def check_file(data: bytes, media_type: str, is_sound: bool) -> None:
    """A file is refused with a place, or read, comes back unchanged and can be planned; quickly."""
    began = time.process_time()
    accepted = accept(data, media_type)
    if isinstance(accepted, DagDocument):
        check_round_trip(accepted)
        draft_plan(
            accepted,
            CATALOGUE,
            defaults=RunDefaults(),
            datasets={},
            seeds=random.Random(1),
            selection=Selection("all", []),
        )
    else:
        assert not is_sound, (data, accepted.problems)
        for problem in accepted.problems:
            assert problem.line or problem.code == "more_problems", problem
    took_s = time.process_time() - began
    assert took_s < CPU_BOUND_S or took_s < find_bound_s(), (took_s, data)


def accept(data: bytes, media_type: str) -> DagDocument | DagFileError:
    """Give what became of a file."""
    try:
        return accept_dag(data, media_type, CATALOGUE, queues={"default"})
    except DagFileError as error:
        return error


def check_round_trip(document: DagDocument) -> None:
    """What is written is what was read, in either form."""
    for text, media_type in ((document.to_yaml(), YAML), (document.to_json(), JSON)):
        again = read_dag(text.encode(), media_type)
        assert again.value == document.value
        assert again.digest == document.digest
        assert list(again.value["dag"]) == list(document.value["dag"])
