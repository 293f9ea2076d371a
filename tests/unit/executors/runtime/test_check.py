import pytest

from executors.runtime.check import check_algorithms

GOOD = '''
from __future__ import annotations
from typing import TYPE_CHECKING
from pydantic import BaseModel, Field
from algorithms.base import Context, Port, algorithm
if TYPE_CHECKING:
    import pandas as pd

class Params(BaseModel):
    n: int = Field(1, title="Rows", json_schema_extra={"title_zh": "行数"})

@algorithm("head", title="Head", title_zh="头部", family="own",
           inputs=[Port("rows", "table")], outputs=[Port("first", "table")])
def head(context: Context, params: Params, rows: pd.DataFrame) -> pd.DataFrame:
    """Take the first rows.

    Parameters
    ----------
    context : Context
        Unused.
    params : Params
        How many.
    rows : pandas.DataFrame of shape (n_rows, n_columns)
        The table.

    Returns
    -------
    pandas.DataFrame of shape (n, n_columns)
        The first rows.

    Raises
    ------
    AlgorithmError
        Never.

    Notes
    -----
    Missing values: kept.
    Input: not modified.
    Randomness: none.
    Cost: nothing.

    References
    ----------
    None.

    Examples
    --------
    >>> 1 + 1
    2
    """
    return rows.head(params.n)
'''


def check(tmp_path, source):
    path = tmp_path / "own.py"
    path.write_text(source, encoding="utf-8")
    return check_algorithms(str(path))


def test_a_good_algorithm_has_no_problem(tmp_path):
    assert check(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rows: pd.DataFrame)", "rows: dict)", "needs DataFrame or Table"),
        ("rows: pd.DataFrame)", "rows)", "has no annotation"),
        ("-> pd.DataFrame", "-> dict", "the return value is annotated dict"),
        ('title_zh="头部", ', "", "no Chinese title"),
        ('title="Rows", ', "", "parameter 'n' has no title"),
        ('"title_zh": "行数"', "", "parameter 'n' has no title_zh"),
        ("class Params(BaseModel):\n", "class Params(BaseModel, extra='ignore'):\n", "forbid"),
        ("    rows : pandas", "    row : pandas", "does not describe the argument 'rows'"),
        ("    Randomness: none.\n", "", "'Randomness:'"),
        ("    Returns\n    -------", "    Gives\n    -----", "no section Returns"),
        ("    2\n", "    3\n", "an example of its docstring fails"),
        ('"table")], outputs', '"table", many=True)], outputs', "takes many edges"),
        ('"table")], outputs', '"table", optional=True)], outputs', "may be None"),
        ('[Port("first", "table")]', '[Port("a", "table"), Port("b", "table")]', "must be a tuple"),
    ],
)
def test_each_breach_of_the_contract_is_named(tmp_path, old, new, said):
    assert GOOD.count(old) == 1 or old == "    2\n"
    problems = check(tmp_path, GOOD.replace(old, new))
    assert any(said in problem and problem.startswith("head: ") for problem in problems), problems


def test_what_cannot_be_imported_or_has_no_algorithm_is_told(tmp_path):
    assert "cannot be imported: SyntaxError" in check(tmp_path, "def f(:")[0]
    assert "defines no algorithm" in check(tmp_path, "x = 1")[0]
    assert "cannot be imported" in check_algorithms("no.such.module")[0]
    assert "cannot be imported" in check_algorithms(str(tmp_path / "nothing.py"))[0]


def test_declarations_that_cannot_work_are_told(tmp_path):
    problems = check(tmp_path, GOOD.replace('inputs=[Port("rows", "table")]', "inputs=[]"))
    assert "0 input port(s) are declared" in problems[0]


def test_two_algorithms_of_one_name_are_told(tmp_path):
    problems = check(tmp_path, GOOD + GOOD.replace("def head", "def other").split("pd\n", 1)[1])
    assert "head: two algorithms bear this name." in problems
