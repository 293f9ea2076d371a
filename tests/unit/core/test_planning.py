import random
import time

import msgspec
import pytest

from dag_engine.core.dagfile import YAML, SealedNames, read_dag
from dag_engine.core.errors import MissingArtifactsError
from dag_engine.core.plan import PlannedInput, Reused, RunDefaults
from dag_engine.core.planning import complete_plan, draft_plan
from executors.base import ArtifactRef, DatasetRef, ExecutorOffer, PortSpec, Resources
from tests.support.dag_generator import chain_dag, fan_dag, front_end_dag
from tests.support.example_catalogue import make_catalogue, make_offer
from tests.support.planned_pipeline import FORTY, PIPELINE, by_name, changed, plan, prints, refuse

TABLE = ArtifactRef(type="table", uri="file:///t", sha256="cd")


def test_tasks_stand_in_breadth_first_order_with_their_edges():
    draft = plan(PIPELINE)
    assert [task.operator for task in draft.tasks] == ["a", "b", "l", "g", "p", "e"]
    assert [task.index for task in draft.tasks] == [0, 1, 2, 3, 4, 5]
    assert [task.upstream for task in draft.tasks] == [[], [0], [1], [1], [2, 3], [4]]
    tasks = by_name(draft)
    assert tasks["a"].inputs == []
    assert tasks["g"].inputs == [[PlannedInput(source=1, source_port=1)]]
    assert tasks["p"].inputs == [[PlannedInput(source=3)], [PlannedInput(source=2)]]
    assert [task.n_outputs for task in draft.tasks] == [1, 2, 1, 1, 1, 1]
    assert draft.needed == {}
    assert complete_plan(draft, {}).tasks == draft.tasks


def test_a_task_carries_what_its_attempts_need():
    task = by_name(plan(PIPELINE))["a"]
    assert (task.algorithm, task.entry) == (
        "algo_local_read_file",
        "algorithms.algo_local_read_file:algo_local_read_file",
    )
    assert task.code_version == "1+0123456789ab"
    assert task.executor == "local"
    assert task.params == {"data_id": 40}
    assert task.datasets == {"40": FORTY}
    assert by_name(plan(PIPELINE))["g"].title == "树"


def test_the_run_section_goes_before_the_defaults():
    source = PIPELINE.replace(
        "b: {algo_name: algo_local_split_data,",
        "b: {algo_name: algo_local_split_data, run: {retries: 0, timeout_s: 60, cache: off_, "
        "resources: {memory_mb: 512, gpu: 1}, labels: {zone: a}, priority: 5, queue: fast, "
        "retry_on: [error], retry_delay_s: 1, on_failure: continue},",
    ).replace("cache: off_", 'cache: "off"')
    defaults = RunDefaults(retries=4, timeout_s=9.0, cpu=2.0, memory_mb=64, on_failure="stop")
    tasks = by_name(plan(source, defaults=defaults))
    b = tasks["b"]
    assert (b.retries, b.timeout_s, b.cache, b.retry_on) == (0, 60, "off", ["error"])
    assert (b.retry_delay_s, b.priority, b.queue) == (1.0, 5, "fast")
    assert b.resources == Resources(cpu=2.0, memory_mb=512, gpu=1.0)
    assert b.labels == {"zone": "a"}
    assert b.on_failure == "continue"
    a = tasks["a"]
    assert (a.retries, a.timeout_s, a.cache, a.retry_on) == (4, 9.0, "use", ["lost", "killed"])
    assert a.resources == Resources(cpu=2.0, memory_mb=64)
    assert (a.on_failure, a.queue, a.labels) == ("stop", "default", {})


def test_an_algorithm_that_cannot_be_cached_is_not():
    offer = make_offer("clock", outputs=[PortSpec(name="now", type="report")])
    catalogue = make_catalogue(
        offer.__class__(
            **{f: getattr(offer, f) for f in offer.__struct_fields__} | {"is_cacheable": False}
        )
    )
    draft = plan(chain_dag(1, algorithm="clock"), catalogue=catalogue)
    assert draft.tasks[0].cache == "off"


@pytest.mark.parametrize("order", ["cdcd", "dcdc"])
def test_what_operators_without_a_run_section_share_hangs_on_their_algorithm(order):
    offer = make_offer("cached", outputs=[PortSpec(name="now", type="report")])
    other = msgspec.structs.replace(offer, name="clock", is_cacheable=False)
    names = {"c": "cached", "d": "clock"}
    details = "".join(f"    o{i}: {{algo_name: {names[one]}}}\n" for i, one in enumerate(order))
    source = f"dag:\n  operator_list: [o0, o1, o2, o3]\n  operator_details:\n{details}"
    draft = plan(source, catalogue=make_catalogue(offer, other))
    caches = {"c": "use", "d": "off"}
    assert [task.cache for task in draft.tasks] == [caches[one] for one in order]


def test_the_run_sections_executor_goes_before_the_label():
    catalogue = make_catalogue()
    catalogue.executors["ray"] = ExecutorOffer(name="ray")
    source = PIPELINE.replace(
        "data_type: 本地python,", "data_type: 本地python, run: {executor: ray},"
    )
    assert by_name(plan(source, catalogue=catalogue))["a"].executor == "ray"


def test_seeds_are_drawn_for_each_task_and_kept_where_asked():
    draft = plan(PIPELINE, seeds=random.Random(5))
    source = random.Random(5)
    assert [task.seed for task in draft.tasks] == [source.getrandbits(31) for _ in range(6)]
    assert all(0 <= task.seed < 2**31 for task in draft.tasks)
    kept = plan(PIPELINE, seeds=random.Random(6), kept_seeds={"b": 77})
    assert by_name(kept)["b"].seed == 77
    assert by_name(kept)["a"].seed != by_name(draft)["a"].seed


@pytest.mark.parametrize(
    ("word", "operators", "tasks", "needed"),
    [
        ("from", ["p"], ["p", "e"], {"g", "l"}),
        ("from", ["g"], ["g", "p", "e"], {"b", "l"}),
        ("to", ["l"], ["a", "b", "l"], set()),
        ("only", ["l", "e"], ["l", "e"], {"b", "p"}),
        ("children", ["b"], ["l", "g", "p", "e"], {"b"}),
        ("failed", [], ["l", "p", "e"], {"b", "g"}),
    ],
)
def test_a_range_needs_the_results_right_above_it(word, operators, tasks, needed):
    draft = plan(PIPELINE, word, operators, unfinished={"l", "p", "e"})
    assert [task.operator for task in draft.tasks] == tasks
    assert set(draft.needed) == needed
    prints = {task.operator: task.fingerprint for task in plan(PIPELINE).tasks}
    assert all(prints[name] == print_ for name, print_ in draft.needed.items())


def test_former_results_fill_the_inputs_from_outside():
    draft = plan(PIPELINE, "only", ["l", "g", "e"])
    second = ArtifactRef(type="table", uri="file:///second")
    split = Reused(operator="b", run_id="r1", attempt=1, outputs=[TABLE, second])
    predicted = Reused(operator="p", run_id="r2", attempt=2, outputs=[TABLE])
    full = complete_plan(draft, {"b": split, "p": predicted, "a": split})
    tasks = {task.operator: task for task in full.tasks}
    assert tasks["l"].inputs == [[PlannedInput(artifact=TABLE)]]
    assert tasks["g"].inputs == [[PlannedInput(artifact=second)]]
    assert tasks["e"].inputs == [[PlannedInput(artifact=TABLE)]]
    assert tasks["e"].upstream == []
    assert full.reused == [split, predicted]


def test_what_is_lacking_is_named_by_operator():
    draft = plan(PIPELINE, "only", ["p", "g"])
    assert set(draft.needed) == {"b", "l"}
    split = Reused(operator="b", run_id="r1", attempt=1, outputs=[TABLE])
    with pytest.raises(MissingArtifactsError) as caught:
        complete_plan(draft, {"b": split})
    lacking = caught.value.lacking
    assert set(lacking) == {"b", "l"}
    assert "output 1" in lacking["b"]
    assert "'g'" in lacking["b"]
    assert "result" in lacking["l"]
    assert "'p'" in lacking["l"]


def test_a_fingerprint_changes_with_everything_that_decides_the_result():
    before = prints()
    assert prints(seeds=random.Random(99)) == before
    assert changed(before, prints(PIPELINE.replace("ext1: 0.8", "ext1: 0.7"))) == set("blgpe")
    newer = DatasetRef(id="40", version=4, uri="file:///d/40.csv", sha256="ef")
    assert changed(before, prints(datasets={"40": newer})) == set("ablgpe")
    other_port = PIPELINE.replace("{target: l, source_index: 0", "{target: l, source_index: 1")
    assert changed(before, prints(other_port)) == set("lpe")
    swapped = PIPELINE.replace(
        "g: [{target: p, source_index: 0, target_index: 0}]",
        "g: [{target: p, source_index: 0, target_index: 1}]",
    ).replace(
        "l: [{target: p, source_index: 0, target_index: 1}]",
        "l: [{target: p, source_index: 0, target_index: 0}]",
    )
    assert changed(before, prints(swapped)) == set("pe")


def test_a_fingerprint_does_not_change_with_what_is_beside_the_result():
    before = prints()
    beside = PIPELINE.replace("b: {algo", "b: {run: {retries: 3}, cn_name: 拆分, algo")
    assert prints(beside) == before
    assert prints(PIPELINE.replace("data_id: 40", "data_id: '40'")) == before


def test_a_fingerprint_changes_with_the_code():
    catalogue = make_catalogue()
    old = catalogue.algorithms["algo_local_split_data"]
    catalogue.algorithms["algo_local_split_data"] = make_offer(
        old.name,
        inputs=old.inputs,
        outputs=old.outputs,
        params_schema=old.params_schema,
        code_version="2+fedcba987654",
    )
    assert changed(prints(), prints(catalogue=catalogue)) == set("blgpe")


# l may fail: then g2 (another GBDT, fed by b) does the work.
WITH_ALTERNATIVE = (
    PIPELINE.replace("[e, a, b, g, l, p]", "[e, a, b, g2, g, l, p]")
    .replace(
        "      - {target: g, source_index: 1, target_index: 0}\n",
        "      - {target: g, source_index: 1, target_index: 0}\n      - {target: g2}\n",
    )
    .replace("l: {algo_name:", "l: {run: {on_failure: g2}, algo_name:")
    + "    g2: {algo_name: algo_local_model_gbdt, params: {x_cols: [x], y_col: y}}\n"
)


def test_an_alternative_is_planned_after_its_operator():
    draft = plan(WITH_ALTERNATIVE)
    tasks = by_name(draft)
    order = [task.operator for task in draft.tasks]
    assert order.index("l") < order.index("g2") < order.index("p")
    assert (tasks["l"].on_failure, tasks["l"].alternative) == ("alternative", tasks["g2"].index)
    assert tasks["g2"].is_alternative
    assert not tasks["l"].is_alternative
    assert tasks["g2"].upstream == [tasks["b"].index]
    assert tasks["p"].upstream == sorted([tasks["l"].index, tasks["g"].index])


@pytest.mark.parametrize(
    ("word", "operators", "expected"),
    [
        ("from", ["l"], {"l", "g2", "p", "e"}),
        ("from", ["p"], {"p", "e"}),
        ("to", ["p"], {"a", "b", "l", "g2", "g", "p"}),
        ("only", ["l"], {"l"}),
        ("only", ["g2"], {"g2"}),
        ("children", ["b"], {"l", "g2", "g", "p", "e"}),
    ],
)
def test_an_alternative_follows_its_operator_into_a_range(word, operators, expected):
    assert set(by_name(plan(WITH_ALTERNATIVE, word, operators))) == expected


def test_an_operator_without_its_alternative_stops_the_run():
    only = by_name(plan(WITH_ALTERNATIVE, "only", ["l"]))["l"]
    assert (only.on_failure, only.alternative) == ("stop", None)
    assert not by_name(plan(WITH_ALTERNATIVE, "only", ["g2"]))["g2"].is_alternative


def test_the_former_result_of_an_alternative_does_as_well():
    draft = plan(WITH_ALTERNATIVE, "only", ["p"])
    assert set(draft.needed) == {"g", "l", "g2"}
    model = ArtifactRef(type="model", uri="file:///m")
    tree = Reused(operator="g", run_id="r1", attempt=1, outputs=[model])
    rescued = Reused(operator="g2", run_id="r1", attempt=1, outputs=[TABLE])
    full = complete_plan(draft, {"g": tree, "g2": rescued})
    assert full.tasks[0].inputs == [[PlannedInput(artifact=model)], [PlannedInput(artifact=TABLE)]]
    with pytest.raises(MissingArtifactsError) as caught:
        complete_plan(draft, {"g": tree})
    assert set(caught.value.lacking) == {"l"}


def test_a_fingerprint_changes_with_what_may_stand_in_above():
    before = prints(WITH_ALTERNATIVE)
    after = prints(
        WITH_ALTERNATIVE.replace(
            "g2: {algo_name: algo_local_model_gbdt, params: {",
            "g2: {algo_name: algo_local_model_gbdt, params: {max_depth: 2, ",
        )
    )
    assert changed(before, after) == {"g2", "p", "e"}


def test_connections_that_parameters_name_are_listed():
    schema = {
        "properties": {
            "connection": {"anyOf": [{"type": "string", "format": "connection"}, {"type": "null"}]},
            "tables": {"type": "array", "items": {"$ref": "#/$defs/Table"}},
        },
        "$defs": {
            "Table": {
                "type": "object",
                "properties": {"from": {"type": "string", "format": "connection"}},
            }
        },
    }
    catalogue = make_catalogue(make_offer("sql", params_schema=schema))
    source = """\
dag:
  operator_list: [q]
  operator_details:
    q: {algo_name: sql, params: {connection: main, tables: [{from: other}, {from: main}]}}
"""
    draft = plan(source, catalogue=catalogue, sealed=SealedNames({"main", "other"}))
    assert draft.tasks[0].connections == ["main", "other"]
    assert refuse(source, catalogue=catalogue, sealed=SealedNames({"main"})) == [
        ("unknown_connection", "/dag/operator_details/q/params/tables/0/from")
    ]


def test_a_data_set_named_by_a_number_becomes_text_where_the_algorithm_wants_text():
    schema = {
        "properties": {"data_id": {"type": "string", "format": "dataset-id"}},
        "required": ["data_id"],
    }
    catalogue = make_catalogue(make_offer("read_text_id", params_schema=schema))
    source = PIPELINE.split("  operator_rels")[0].replace("[e, a, b, g, l, p]", "[a]") + (
        "  operator_details:\n    a: {algo_name: read_text_id, params: {data_id: 40}}\n"
    )
    (task,) = plan(source, catalogue=catalogue).tasks
    assert task.params == {"data_id": "40"}
    assert task.datasets == {"40": FORTY}


def test_wide_and_long_dags_are_planned_whole():
    wide = plan(fan_dag(5_000))
    assert len(wide.tasks[-1].inputs[0]) == 5_000
    long = plan(chain_dag(5_000))
    assert [task.upstream for task in long.tasks[:3]] == [[], [0], [1]]
    assert len(long.tasks) == 5_000


def test_ten_thousand_operators_are_planned_in_seconds():
    document = read_dag(front_end_dag(10_000).encode(), YAML)
    start = time.process_time()
    draft = draft_plan(
        document,
        make_catalogue(),
        defaults=RunDefaults(),
        datasets={"40": FORTY},
        seeds=random.Random(1),
    )
    assert time.process_time() - start < 5.0
    assert len(draft.tasks) == 10_000
