from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(scope="session")
def credit_default() -> bytes:
    """Return the file as the front end posts it."""
    return (DATA / "credit_default.yaml").read_bytes()
