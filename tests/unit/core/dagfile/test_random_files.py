"""DAG files drawn at random are refused with a place, or come back unchanged and can be planned."""

from hypothesis import HealthCheck, settings

from tests.support.random_files import any_files, check_file

test_a_file_is_refused_or_comes_back = settings(
    max_examples=150, suppress_health_check=list(HealthCheck)
)(any_files(check_file))
