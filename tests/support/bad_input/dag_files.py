"""S1 to S18: DAG files made to bring a parser down, or to mean something else than they say."""

from __future__ import annotations

import json

from tests.support.bad_input.bench import BODY, JSON, Bench, change
from tests.support.bad_input.registry import case
from tests.support.dag_generator import chain_dag, fan_dag, plain_dag

MEGABYTE = 1024 * 1024
JSON_BODY = json.dumps(
    {
        "dag": {
            "operator_list": ["a"],
            "operator_details": {"a": {"algo_name": "bad_echo", "params": {"text": "one"}}},
        }
    }
)


def _bomb(make: str, depth: int = 25) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [make.format(level=level, before=level - 1) for level in range(1, depth)]
    return "\n".join([*lines, BODY])


@case(1, "Billion laughs: aliases of aliases", "400 yaml_alias_forbidden")
def aliases(bench: Bench) -> None:
    """Refused at the first anchor, by line."""
    bomb = _bomb("a{level}: &a{level} [*a{before}, *a{before}, *a{before}]")
    bench.refuse_dag(bomb, 400, "yaml_alias_forbidden", at=(1, 5))


@case(2, "Merge-key bomb `<<: [*a, *a]`", "400 yaml_alias_forbidden", "400 yaml_merge_forbidden")
def merge_keys(bench: Bench) -> None:
    """Refused before anything is built."""
    bomb = _bomb("a{level}: &a{level} {{<<: [*a{before}, *a{before}]}}")
    bench.refuse_dag(bomb, 400, "yaml_alias_forbidden", at=(1, 5))
    bench.refuse_dag(change("number: 1", "<<: {number: 1}"), 400, "yaml_merge_forbidden")


@case(3, "100 KB of `[`, and other deep nesting in YAML", "400 too_deep")
def deep_yaml(bench: Bench) -> None:
    """Refused at the 65th level."""
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000):
        bench.refuse_dag(text, 400, "too_deep")
    deepest = "[" * 61 + "]" * 61
    bench.refuse_dag(change("text: one", f"text: {deepest}"), 400, "too_deep")


@case(
    4,
    "The same in JSON, in every body and query that takes it",
    "400 too_deep",
    "400 bad_parameter",
)
def deep_json(bench: Bench) -> None:
    """Refused where it is too deep, whoever reads it."""
    for opening in ("[", '{"a":'):
        bench.refuse_dag('{"dag":' + opening * 20_000, 400, "too_deep", media_type=JSON)
    deep = {"data": '{"uri":"x","options":' + '{"a":' * 20_000, "headers": {"Content-Type": JSON}}
    bench.refuse("POST", "/api/v1/datasets", 400, "too_deep", **deep)
    deep["data"] = '{"params":' + '{"a":' * 20_000
    started = bench.send("POST", "/api/v1/dags", data=BODY.encode(),
                         headers={"Content-Type": "application/yaml"}).json()  # fmt: skip
    bench.refuse("POST", f"/api/v1/dags/{started['id']}/runs", 400, "too_deep", **deep)
    bench.refuse(
        "POST", "/api/v1/runs", 400, "bad_parameter", data=BODY.encode(),
        headers={"Content-Type": "application/yaml"}, params={"params": '{"a":' * 400},
    )  # fmt: skip


@case(5, "Tags: `!!python/object/apply:os.system`, `!!python/name`", "400 yaml_tag_forbidden")
def tags(bench: Bench) -> None:
    """Refused by line and column, and nothing is called."""
    canary = bench.outside / "called"
    for tag in (f"!!python/object/apply:os.mkdir [{canary}]", "!!python/name:os.system x",
                "!!str one", "!<tag:yaml.org,2002:python/object/new:os.system> [ls]"):  # fmt: skip
        bench.refuse_dag(change("one", tag), 400, "yaml_tag_forbidden", at=(9, 22))
    assert not canary.exists()


@case(
    6,
    "More than 16 MiB, 10,000 operators, 100,000 edges or 300,000 mappings and lists",
    "413 body_too_large",
    "422 too_many_operators",
    "422 too_many_edges",
    "422 too_many_nodes",
)
def too_much(bench: Bench) -> None:
    """Refused by size before it is read, by number before it is checked."""
    bench.refuse_dag("#" * (16 * MEGABYTE + 1), 413, "body_too_large")
    bench.refuse_dag(plain_dag(f"o{i}" for i in range(10_001)), 422, "too_many_operators")
    edges = ", ".join(["{target: b}"] * 100_001)
    bench.refuse_dag(change("[{target: b", f"[{edges}, {{target: b"), 422, "too_many_edges")
    bench.refuse_dag("a: [" + "[]," * 300_001 + "]", 422, "too_many_nodes")


@case(7, "An alias of itself, `&a [*a]`", "400 yaml_alias_forbidden")
def alias_of_itself(bench: Bench) -> None:
    """Refused by line and column."""
    bench.refuse_dag(change("[a, b]", "&a [*a]"), 400, "yaml_alias_forbidden", at=(2, 18))
    bench.refuse_dag(change("one", "*a "), 400, "yaml_alias_forbidden", at=(9, 22))


@case(8, "A key that stands twice, in YAML and JSON", "400 duplicate_key")
def duplicate_keys(bench: Bench) -> None:
    """Refused at the second one; no last one wins."""
    bench.refuse_dag(
        change("number: 1", "number: 1\n        number: 2"), 400, "duplicate_key", at=(14, 9)
    )
    double = JSON_BODY.replace('"text": "one"', '"text": "one", "text": "two"')
    bench.refuse_dag(double, 400, "duplicate_key", media_type=JSON)


@case(9, "`null`, `true`, `1`, a list, a mapping as key", "422 key_not_string")
def odd_keys(bench: Bench) -> None:
    """Refused, so `true` and `1` cannot fall together."""
    for key in ("~", "null", "true", "1", "1.5", "[a]", "{a: 1}"):
        bench.refuse_dag(change("number: 1", f"{key}: 1"), 422, "key_not_string", at=(13, 9))


@case(10, "`.nan`, `.inf`, `1e999`; `NaN` in JSON", "422 not_finite")
def not_finite(bench: Bench) -> None:
    """Refused: no database and no JSON holds them."""
    for value in (".nan", ".inf", "-.inf", "1e999"):
        bench.refuse_dag(change("number: 1", f"ratio: {value}"), 422, "not_finite", at=(13, 16))
    for value in ("NaN", "Infinity", "-Infinity", "1e999"):
        text = JSON_BODY.replace('"one"', value)
        bench.refuse_dag(text, 422, "not_finite", media_type=JSON)


@case(
    11,
    "A number of 5,000 digits; `190:20:30`, `010`, `no`, `2024-99-99`",
    "422 int_out_of_range",
    about="what releases of YAML read differently is text",
)
def odd_scalars(bench: Bench) -> None:
    """The reader's own number, or text as it stands."""
    bench.refuse_dag(
        change("number: 1", f"number: {'7' * 5_000}"), 422, "int_out_of_range", at=(13, 17)
    )
    for text in ("190:20:30", "010", "no", "on", "2024-99-99", "1_000", "0b11", "12e03x", "0o"):
        run = bench.run(change("text: one", f"text: {text}"), "application/yaml")
        assert bench.report(run)["text"] == text


@case(12, "A hexadecimal number of a megabyte", "422 int_out_of_range")
def long_hexadecimal(bench: Bench) -> None:
    """Refused by its length, unread."""
    long = change("number: 1", "number: 0x" + "f" * MEGABYTE)
    bench.refuse_dag(long, 422, "int_out_of_range", at=(13, 17))


@case(
    13,
    "NUL, control, zero-width and direction characters, lone surrogates",
    "422 bad_character",
    "422 bad_operator_id",
)
def odd_characters(bench: Bench) -> None:
    """Refused where they stand, written raw or as an escape."""
    for text in (r'"a\0b"', r'"\ud800"', r'"\udfffx"', "a\0b", "a\x07b", "a\x1bb"):
        bench.refuse_dag(change("text: one", f"text: {text}"), 422, "bad_character")
    for text in (r"\u0000", r"\ud800", r"\udc00\ud800"):
        bench.refuse_dag(JSON_BODY.replace("one", text), 422, "bad_character", media_type=JSON)
    for character in "\u202e\u2066\u200b\u200d\ufeff\u0085\u2028":
        title = f'cn_name: "a\\u{ord(character):04x}b"\n      params: {{text'
        bench.refuse_dag(change("params: {text", title), 422, "bad_character", at=(9, 16))
        name = json.loads(JSON_BODY)
        name["dag"]["operator_details"] = {f"a{character}": {"algo_name": "bad_echo"}}
        bench.refuse_dag(json.dumps(name), 422, "bad_operator_id", media_type=JSON)


@case(
    14,
    "UTF-16, a byte order mark, bytes that are no UTF-8, two documents, nothing, a list",
    "400 bad_encoding",
    "400 several_documents",
    "400 empty_file",
    "400 not_a_mapping",
)
def odd_documents(bench: Bench) -> None:
    """Refused: one document, one mapping, in UTF-8."""
    for data in (BODY.encode("utf-16"), b"\xef\xbb\xbf" + BODY.encode(), b"dag: \xff",
                 BODY.encode("utf-32"), b"dag: {name: \xed\xa0\x80}"):  # fmt: skip
        bench.refuse_dag(data, 400, "bad_encoding")
    bench.refuse_dag(BODY + "---\n" + BODY, 400, "several_documents", at=(14, 1))
    for text in ("", "# nothing\n", "--- null\n", " \n"):
        bench.refuse_dag(text, 400, "empty_file", at=(1, 1))
    for text in ("- dag\n", "dag\n", "5\n"):
        bench.refuse_dag(text, 400, "not_a_mapping", at=(1, 1))


def _ring(n_operators: int) -> str:
    names = [f"o{i}" for i in range(n_operators)]
    edges = [(names[i], names[(i + 1) % n_operators]) for i in range(n_operators)]
    return plain_dag(names, edges, algorithm="bad_echo")


@case(15, "A cycle of 2 and of 5,000 operators, an edge onto itself", "422 cycle")
def cycles(bench: Bench) -> None:
    """Refused, naming the operators of the cycle."""
    bench.refuse_dag(_ring(2), 422, "cycle", says=("o0 → o1 → o0",))
    bench.refuse_dag(_ring(5_000), 422, "cycle", says=("more) …",))
    bench.refuse_dag(change("target: b", "target: a"), 422, "cycle", says=("onto itself",))
    # the shortest one is named where a long and a short one share an operator
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("b", "a")]
    text = plain_dag("abcd", edges, algorithm="bad_echo")
    bench.refuse_dag(text, 422, "cycle", says=("a → b → a",))


@case(
    16,
    "An edge to or from nowhere, port -1, 99 and 2^63, another type of port, an edge twice, "
    "two edges into one port",
    "422 edge_to_nowhere",
    "422 edge_from_nowhere",
    "422 bad_port",
    "422 int_out_of_range",
    "422 port_taken",
    "422 edge_twice",
    "422 port_type_mismatch",
)
def odd_edges(bench: Bench) -> None:
    """Refused, naming both ends."""
    bench.refuse_dag(change("target: b", "target: bb"), 422, "edge_to_nowhere", says=("'a'", "bb"))
    bench.refuse_dag(change("a: [{", "aa: [{"), 422, "edge_from_nowhere", says=("aa",))
    bench.refuse_dag(change("source_index: 0", "source_index: -1"), 422, "bad_port")
    bench.refuse_dag(change("source_index: 0", f"source_index: {2**63}"), 422, "int_out_of_range")
    bench.refuse_dag(change("source_index: 0", "source_index: 99"), 422, "bad_port")
    edge = "{target: b, source_index: 0, target_index: 0}"
    bench.refuse_dag(change(edge, f"{edge}, {edge}"), 422, "edge_twice", says=("'a'", "'b'"))
    names = ["a", "b", "c"]
    taken = plain_dag(names, [("a", "c"), ("b", "c")], algorithm="bad_echo")
    taken = taken.replace("c: {algo_name: bad_echo, params: {}",
                          "c: {algo_name: bad_needs, params: {name: x}")  # fmt: skip
    bench.refuse_dag(taken, 422, "port_taken", says=("a", "b"))
    table = plain_dag(names, [("a", "b"), ("b", "c")], algorithm="bad_needs")
    table = table.replace("params: {}", "params: {name: x}")
    bench.refuse_dag(table, 422, "port_type_mismatch", says=("b", "c"))


@case(
    17,
    "Operator ids of 300 characters, with an emoji, a space, a dot; `a` beside `A`",
    "422 bad_operator_id",
    about="`a` and `A` are two operators",
)
def odd_ids(bench: Bench) -> None:
    """Refused by pattern; case is kept apart, as the database keeps it."""
    for name in ("x" * 300, "a😀", "a ", " a", "a.b", "-a", "a/b", "", "a\u0301", "a\n"):
        dag = json.loads(JSON_BODY)
        dag["dag"]["operator_list"] = [name]
        dag["dag"]["operator_details"] = {name: {"algo_name": "bad_echo"}}
        bench.refuse_dag(json.dumps(dag), 422, "bad_operator_id", media_type=JSON)
    run = bench.run(plain_dag(["a", "A", "ä", "Ä"], algorithm="bad_echo"), "application/yaml")
    tasks = bench.get(f"/api/v1/runs/{run}/tasks")["items"]
    assert [task["operator"] for task in tasks] == ["a", "A", "ä", "Ä"]


@case(18, "A fan-in of 5,000 and a chain of 5,000 operators", about="accepted, and runs")
def wide_and_long(bench: Bench) -> None:
    """Taken: no recursion, no bound below the limits."""
    for text in (fan_dag(5_000, algorithm="bad_echo"), chain_dag(5_000, algorithm="bad_echo")):
        run_id = bench.start(text, "application/yaml")["id"]
        bench.see_running(run_id)
