"""Sections about stages: off unless there, read back as written, refused where ranking cannot give what they read."""

from pathlib import Path
from typing import Any

import pytest

from marm.config import load_run, to_toml
from marm.errors import SettingError
from tests.train.logs import run_over


def test_a_stage_is_off_unless_its_section_is_there(tmp_path: Path) -> None:
    run = run_over(tmp_path)
    assert not run.stages.any and "stages" not in to_toml(run).replace("[stages]", "")
    run = run_over(tmp_path, stages={"cascading": {}})
    (tmp_path / "run.toml").write_text(to_toml(run), encoding="utf-8")
    assert load_run(tmp_path / "run.toml") == run
    assert run.stages.any and run.stages.retrieval is None


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"stages": {"retrieval": {"positive": "watch"}}}, "'watch': no such binary task; there is click"),
        ({"stages": {"retrieval": {"positive": "like"}}}, "'like': no such binary task"),
        ({"stages": {"retrieval": {"layers": 4}}}, "ranking remembers depths 1 to 2; give at most 3"),
        ({"stages": {"cascading": {"depth": 3}}}, "ranking remembers depths 1 to 2 only"),
        ({"stages": {"retrieval": {}}, "model": {"outcomes": False}}, "histories do not carry that outcome"),
        ({"stages": {"retrieval": {"index": "tree"}}}, "stages.retrieval.index"),
        ({"stages": {"retrieval": {"windw": 3}}}, "did you mean stages.retrieval.window"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, sections: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        run_over(tmp_path, **sections)
