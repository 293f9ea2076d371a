"""What the pages of docs/ show works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dag_engine.cli.config_loading import load_config
from dag_engine.cli.main import run_command

ROOT = Path(__file__).resolve().parents[3]


def read_block(page: str, language: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_algorithm_of_the_page_keeps_the_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clip_outliers.py"
    file.write_text(read_block("writing_an_algorithm.md", "python"), encoding="utf-8")
    assert run_command(["algorithms", "check", str(file)]) == 0, capsys.readouterr().out


def test_check_of_a_bad_algorithm_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clip_outliers.py"
    text = read_block("writing_an_algorithm.md", "python")
    file.write_text(text.replace("Randomness: none.", ""), encoding="utf-8")
    assert run_command(["algorithms", "check", str(file)]) == 1
    assert "clip_outliers" in capsys.readouterr().out


def test_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(read_block("configuration.md", "yaml"), encoding="utf-8")
    config = load_config(file, environment={})
    assert config.queues["gpu"].limit == 2
    assert config.executors["mine"].data_types == ("我的平台",)


@pytest.mark.parametrize(
    "page",
    [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md"],
    ids=lambda path: path.name,
)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_first_lines_are_the_three_commands(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [line.split("#")[0].split() for line in lines[3:6]] == [
        ["make", "demo"],
        ["make", "run"],
        ["make", "test"],
    ]


def test_dag_of_the_readme_is_plain_data_that_names_known_algorithms() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    dag = yaml.safe_load(block[1])["dag"]
    assert list(dag["operator_details"]) == dag["operator_list"]
    for details in dag["operator_details"].values():
        assert list((ROOT / "algorithms").rglob(f"{details['algo_name']}.py"))
