import math

import pandas as pd
import pytest

from algorithms.base import AlgorithmError, Context
from algorithms.preprocessing.algo_encode_categories import (
    EncodeCategoriesParams,
    encode_categories,
)
from algorithms.preprocessing.algo_fill_missing import FillMissingParams, fill_missing


def fill(rows, learn_from=None, **params):
    return fill_missing(Context(), FillMissingParams(**params), rows, learn_from)


def encode(rows, learn_from=None, **params):
    return encode_categories(Context(), EncodeCategoriesParams(**params), rows, learn_from)


@pytest.fixture
def rows():
    return pd.DataFrame(
        {
            "age": [20.0, None, 40.0, 90.0],
            "住房": ["租", None, "租", "own"],
            "whole": [1, 2, 3, 4],
        }
    )


def test_median_and_most_frequent_fill_by_default(rows):
    filled = fill(rows)
    assert filled["age"].tolist() == [20.0, 40.0, 40.0, 90.0]
    assert filled["住房"].tolist() == ["租", "租", "租", "own"]
    assert filled["whole"].tolist() == [1, 2, 3, 4]


def test_mean_is_that_of_the_values_that_are_there(rows):
    assert fill(rows, numeric="mean")["age"][1] == 50.0


def test_constants_fill_numbers_and_texts(rows):
    filled = fill(rows, numeric="constant", numeric_value=-1, other="constant", other_value="无")
    assert (filled["age"][1], filled["住房"][1]) == (-1.0, "无")


def test_a_rule_goes_before_the_general_strategy(rows):
    rule = {"columns": ["age"], "strategy": "constant", "value": 7}
    filled = fill(rows, rules=[rule])
    assert (filled["age"][1], filled["住房"][1]) == (7.0, "租")


def test_none_leaves_the_missing_ones(rows):
    assert math.isnan(fill(rows, numeric="none")["age"][1])


def test_values_are_learned_from_the_other_table(rows):
    train = pd.DataFrame({"age": [1.0, 3.0], "住房": ["自有", "自有"], "whole": [0, 0]})
    filled = fill(rows, train, numeric="mean")
    assert (filled["age"][1], filled["住房"][1]) == (2.0, "自有")


def test_whole_numbers_that_may_be_missing_take_a_fraction():
    rows = pd.DataFrame({"n": pd.array([1, None, 2], dtype="Int64")})
    assert fill(rows, numeric="mean")["n"].tolist() == [1.0, 1.5, 2.0]
    assert fill(rows, numeric="constant", numeric_value=5)["n"].tolist() == [1, 5, 2]


def test_truth_values_and_moments_are_filled_by_the_most_frequent():
    rows = pd.DataFrame(
        {
            "flag": pd.array([True, True, None], dtype="boolean"),
            "at": pd.to_datetime(["2020-01-02", "2020-01-02", None]),
        }
    )
    filled = fill(rows)
    assert filled["flag"].tolist() == [True, True, True]
    assert filled["at"].tolist() == [pd.Timestamp("2020-01-02")] * 3


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"rules": [{"columns": ["agee"], "strategy": "mean"}]}, "does not have: agee"),
        ({"rules": [{"columns": ["住房"], "strategy": "mean"}]}, "'住房' is not numeric"),
        ({"rules": [{"columns": ["age"], "strategy": "constant"}]}, "has no value"),
        (
            {"rules": [{"columns": ["age"], "strategy": "constant", "value": "x"}]},
            "'x' does not fit",
        ),
        ({"rules": [{"columns": ["age", "age"], "strategy": "mean"}]}, "twice"),
    ],
)
def test_fills_that_cannot_be_are_refused(rows, params, said):
    with pytest.raises(AlgorithmError, match=said):
        fill(rows, **params)


def test_a_column_without_any_value_is_refused_but_takes_a_constant():
    rows = pd.DataFrame({"empty": [None, None], "x": [1, 2]})
    with pytest.raises(AlgorithmError, match="'empty' has no value at all"):
        fill(rows)
    assert fill(rows, other="constant")["empty"].tolist() == ["missing", "missing"]


def test_fill_leaves_its_input_alone(rows):
    before = rows.copy(deep=True)
    fill(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_one_hot_makes_a_column_per_category_in_place(rows):
    encoded = encode(rows)
    assert list(encoded.columns) == ["age", "住房=missing", "住房=own", "住房=租", "whole"]
    assert encoded["住房=租"].tolist() == [1, 0, 1, 0]
    assert encoded["住房=missing"].tolist() == [0, 1, 0, 0]
    assert list(encode(rows, drop_first=True).columns)[1] == "住房=own"


def test_ordinal_numbers_categories_by_their_text(rows):
    assert encode(rows, method="ordinal")["住房"].tolist() == [2, 0, 2, 1]
    assert encode(rows, method="ordinal", missing="none")["住房"].tolist() == [1, -1, 1, 0]


def test_excluded_columns_stay(rows):
    assert encode(rows, exclude=["住房"])["住房"].tolist()[0] == "租"


def test_categories_of_the_training_part_are_used():
    train, test = pd.DataFrame({"c": ["a", "b"]}), pd.DataFrame({"c": ["b", "z"]})
    with pytest.raises(AlgorithmError, match="learn_from does not have: z"):
        encode(test, train)
    encoded = encode(test, train, unknown="none")
    assert encoded.to_dict("list") == {"c=a": [0, 0], "c=b": [1, 0]}


def test_missing_values_can_be_refused(rows):
    with pytest.raises(AlgorithmError, match="'住房' has missing values"):
        encode(rows, missing="error")


def test_a_column_of_identifiers_is_refused():
    rows = pd.DataFrame({"id": [f"c{number}" for number in range(101)]})
    with pytest.raises(AlgorithmError, match="'id' has 101 categories; 100 are allowed"):
        encode(rows)


def test_a_name_that_is_taken_is_refused():
    rows = pd.DataFrame({"c": ["a"], "c=a": [1]})
    with pytest.raises(AlgorithmError, match="already has a column 'c=a'"):
        encode(rows)
