from dag_engine.api.outputs import _name_download
from executors.base import ArtifactRef


def test_a_file_is_downloaded_under_the_name_that_its_algorithm_gave() -> None:
    ref = ArtifactRef(type="file", uri="file:///store/1.txt", meta={"name": "结果 1.txt"})
    assert _name_download(ref, 1) == (
        "attachment; filename=\"1.txt\"; filename*=UTF-8''%E7%BB%93%E6%9E%9C%201.txt"
    )


def test_what_has_no_name_goes_by_its_port() -> None:
    ref = ArtifactRef(type="table", uri="file:///store/0.arrow")
    assert _name_download(ref, 0) == 'attachment; filename="0.arrow"'
