"""Every operation of the OpenAPI description with drawn data, in this process."""

from types import SimpleNamespace

import pytest
from schemathesis.generation import GenerationMode

from tests.support.api_fuzz import can_be_unsound, check_status, fill, find_operations, fuzz
from tests.support.api_rig import ApiRig

# the library leaves the files of pages to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
N_EXAMPLES = 6
LEAST_OPERATIONS = 50


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_it_is_described(rig: ApiRig, mode: GenerationMode) -> None:
    known = fill(rig)
    operations = list(find_operations(rig))
    assert len(operations) >= LEAST_OPERATIONS

    for operation in operations:
        if mode is GenerationMode.POSITIVE or can_be_unsound(operation):
            fuzz(operation, mode, N_EXAMPLES, known)


def test_a_fault_of_the_service_is_found() -> None:
    for status, headers in ((500, {}), (502, {}), (503, {})):
        with pytest.raises(AssertionError):
            check_status(SimpleNamespace(status_code=status, headers=headers, text=""))
    check_status(SimpleNamespace(status_code=503, headers={"retry-after": ["2"]}, text=""))
