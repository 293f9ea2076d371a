"""Each guard is taken out in turn: the suites have to go red, else they would prove nothing.

`make faults` tries every suite of every mutation (`make mutations` prints the table); otherwise it
is only seen that each mutation still fits the code.
"""

from __future__ import annotations

import pytest

from tests.support.mutations.guards import MUTATIONS
from tests.support.mutations.workbench import (
    ROOT,
    Mutation,
    Suite,
    try_mutation,
)

CASES = [
    pytest.param(mutation, suite, id=f"{mutation.name.replace(' ', '-')}-{suite.tests}")
    for mutation in MUTATIONS
    for suite in mutation.suites
]
pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_guard_stands_where_the_mutation_takes_it_out(mutation: Mutation) -> None:
    for cut in mutation.cuts:
        assert cut.count(ROOT) == 1, f"{cut.path} does not hold once: {cut.old}"


@pytest.mark.long
@pytest.mark.parametrize(("mutation", "suite"), CASES)
def test_the_suite_goes_red_without_the_guard(mutation: Mutation, suite: Suite) -> None:
    trial = try_mutation(mutation, suite)
    assert trial.is_red, f"{mutation.about}\n{trial.output[-3000:]}"
