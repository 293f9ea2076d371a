import pyarrow as pa
import pytest
from pydantic import ValidationError

from algorithms.base import AlgorithmError, Context
from algorithms.preprocessing.algo_local_split_data import SplitDataParams, split_data


def split(rows, seed=0, **params):
    return split_data(Context(seed=seed), SplitDataParams(**params), rows)


def numbers(n_rows):
    return pa.table({"x": list(range(n_rows))})


def test_random_parts_have_every_row_once_in_their_order():
    first, second = split(numbers(10), ext1=0.8)
    assert (first.num_rows, second.num_rows) == (8, 2)
    assert sorted(first["x"].to_pylist() + second["x"].to_pylist()) == list(range(10))
    assert first["x"].to_pylist() == sorted(first["x"].to_pylist())


def test_one_seed_gives_one_split_and_another_seed_another():
    assert split(numbers(100), seed=1)[1].equals(split(numbers(100), seed=1)[1])
    assert not split(numbers(100), seed=1)[1].equals(split(numbers(100), seed=2)[1])


def test_a_given_seed_goes_before_that_of_the_attempt():
    assert split(numbers(100), seed=1, ext2=5)[1].equals(split(numbers(100), seed=2, ext2=5)[1])


def test_split_in_order_cuts_once():
    first, second = split(numbers(5), split_type=3, ext1=0.6)
    assert first["x"].to_pylist() == [0, 1, 2]
    assert second["x"].to_pylist() == [3, 4]


def test_stratified_parts_have_the_share_of_every_class():
    # 10 rows of a, 20 of b, 10 missing; half of each: 5, 10, 5.
    rows = pa.table({"c": ["a"] * 10 + ["b"] * 20 + [None] * 10})
    first, second = split(rows, split_type=2, ext1=0.5, ext2="c")
    for part in (first, second):
        values = part["c"].to_pylist()
        assert (values.count("a"), values.count("b"), values.count(None)) == (5, 10, 5)


def test_stratified_shares_are_rounded_by_largest_remainders():
    # Three tenths of 1, 4 and 5 rows: 0.3, 1.2 and 1.5; the third row goes to the last class.
    rows = pa.table({"c": ["a"] * 1 + ["b"] * 4 + ["c"] * 5})
    first, _ = split(rows, split_type=2, ext1=0.3, ext2="c")
    values = first["c"].to_pylist()
    assert (values.count("a"), values.count("b"), values.count("c")) == (0, 1, 2)


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_a_part_without_rows_is_refused(n_rows):
    with pytest.raises(AlgorithmError, match="leaves one part empty"):
        split(numbers(n_rows), ext1=0.9)


def test_a_column_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(AlgorithmError, match="ext2 names columns") as caught:
        split(pa.table({"colour": [1, 2]}), split_type=2, ext1=0.5, ext2="color")
    assert "'colour'" in caught.value.hint


@pytest.mark.parametrize(
    "params",
    [
        {"split_type": 2},
        {"split_type": 1, "ext2": "x"},
        {"split_type": 1, "ext2": -1},
        {"ext1": 0},
        {"ext1": 1},
        {"split_type": 4},
    ],
)
def test_parameters_that_make_no_split_are_refused(params):
    with pytest.raises(ValidationError):
        SplitDataParams(**params)
