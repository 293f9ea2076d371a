import subprocess
import sys

import msgspec
import pytest

from executors import catalogue
from executors.catalogue import digest_catalogue, load_catalogue
from executors.errors import CatalogueError

SOURCE = '''
from pydantic import BaseModel, Field
from algorithms.base import Context, Port, algorithm

class Params(BaseModel):
    n: int = Field(1, ge=0, title="Number", json_schema_extra={"title_zh": "数"})

@algorithm("NAME", title="Mine", title_zh="我的", family="own", inputs=[Port("rows", "table")])
def mine(context: Context, params: Params, rows) -> None:
    """Do it."""
'''


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.py").write_text(SOURCE.replace("NAME", "mine"), encoding="utf-8")
    return folder


def load(tmp_path, folder):
    return {offer.name: offer for offer in load_catalogue(tmp_path / "home", [str(folder)])}


def test_an_offer_tells_everything_of_an_algorithm(tmp_path, folder):
    offer = load(tmp_path, folder)["mine"]
    assert offer.entry == f"{folder}/mine.py:mine"
    assert (offer.title, offer.title_zh, offer.family) == ("Mine", "我的", "own")
    assert offer.doc == "Do it."
    assert [port.type for port in offer.inputs] == ["table"]
    assert offer.params_schema["additionalProperties"] is False
    assert offer.params_schema["properties"]["n"] == {
        "default": 1,
        "minimum": 0,
        "title": "Number",
        "title_zh": "数",
        "type": "integer",
    }
    version, _, digest = offer.code_version.partition("+")
    assert (version, len(digest)) == ("1", 12)


def test_the_built_in_algorithms_are_offered(tmp_path, folder):
    offers = load(tmp_path, folder)
    assert offers["algo_local_model_gbdt"].title_zh == "GBDT 二分类"
    assert "presort" in offers["algo_local_model_gbdt"].deprecated_params
    data_id = offers["algo_local_read_file"].params_schema["properties"]["data_id"]
    assert data_id["format"] == "dataset-id"
    connection = offers["algo_read_sql_table"].params_schema["properties"]["connection"]
    assert connection["format"] == "connection"
    assert not offers["algo_read_sql_table"].is_cacheable


def test_the_answer_is_kept_until_a_file_changes(tmp_path, folder, monkeypatch):
    made = []
    make = catalogue._make_listing
    monkeypatch.setattr(catalogue, "_make_listing", lambda paths: made.append(paths) or make(paths))
    first = load(tmp_path, folder)
    assert load(tmp_path, folder) == first
    assert len(made) == 1
    path = folder / "mine.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"Mine"', '"Other"'), encoding="utf-8")
    second = load(tmp_path, folder)
    assert len(made) == 2
    assert second["mine"].title == "Other"
    assert second["mine"].code_version != first["mine"].code_version
    assert digest_catalogue(first.values()) != digest_catalogue(second.values())


def test_a_damaged_cache_is_made_again(tmp_path, folder):
    first = load(tmp_path, folder)
    (tmp_path / "home" / catalogue.CACHE_NAME).write_bytes(b"{")
    assert load(tmp_path, folder) == first


def test_two_of_one_name_are_refused_naming_both_files(tmp_path, folder):
    (folder / "other.py").write_text(SOURCE.replace("NAME", "mine"), encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, folder)
    assert f"{folder}/mine.py" in str(caught.value)
    assert f"{folder}/other.py" in str(caught.value)
    (folder / "other.py").unlink()
    (folder / "mine.py").write_text(SOURCE.replace("NAME", "algo_local_read_file"), "utf-8")
    with pytest.raises(CatalogueError, match=r"algorithms/source/algo_local_read_file\.py"):
        load(tmp_path, folder)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("x = 1\nraise RuntimeError('no')\n", r"broken\.py, line 2: RuntimeError: no"),
        ("def f(:\n", r"broken\.py, line 1: SyntaxError"),
        ("\nimport nowhere_at_all\n", r"broken\.py, line 2: ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(tmp_path, folder, source, place):
    (folder / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(CatalogueError, match=place):
        load(tmp_path, folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CatalogueError, match="does not exist"):
        load(tmp_path, tmp_path / "nowhere")


def test_a_file_that_prints_or_ends_the_process_does_no_harm(tmp_path, folder):
    (folder / "loud.py").write_text("print('hello')\n", encoding="utf-8")
    assert "mine" in load(tmp_path, folder)
    (folder / "loud.py").write_text("import os, sys\nsys.stderr.write('gone')\nos._exit(3)\n")
    with pytest.raises(CatalogueError, match="gone"):
        load(tmp_path, folder)


def test_loading_imports_no_algorithm_and_no_data_library(tmp_path, folder):
    load(tmp_path, folder)
    code = (
        "import sys\n"
        "from executors.catalogue import load_catalogue\n"
        f"assert load_catalogue({str(tmp_path / 'home')!r}, [{str(folder)!r}])\n"
        "heavy = {'algorithms', 'pydantic', 'pandas', 'numpy', 'sklearn', 'pyarrow', 'fsspec'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_offers_survive_json(tmp_path, folder):
    offers = list(load(tmp_path, folder).values())
    again = msgspec.json.decode(msgspec.json.encode(offers), type=list[type(offers[0])])
    assert again == offers
