import pytest

pytest.register_assert_rewrite("executors.contract")
