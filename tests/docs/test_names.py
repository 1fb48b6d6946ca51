"""Every file, name, setting, command and link that the documentation mentions is there."""

import importlib
import re
import tomllib
from typing import Any

import pytest
from pydantic import BaseModel

from marm.config import RunConfig, TaskConfig
from tests.docs.commands import check_make, check_options
from tests.docs.pages import PAGES, ROOT, blocks, inline_code, links, tables, text_of
from tests.test_floors import FLOORS

FUNCTIONS = ["ExposureSeqGen", "ModelSparseFeatureLookUp", "UserItemDepthHash", "MARMCacheLookUp", "MARMCacheSave"]
_FILE = re.compile(r"(?:marm|tests|recipes|benchmarks|docs|deploy)/[\w/.]*(?::[\w.]+)?")
_SETTING = re.compile(
    r"(data|features|tasks|negatives|model|rival|memory|train|follow|kafka|serve)\.([a-z_]+)(\s*=.*)?"
)
_NOT_SETTINGS = {"memory.hit_rate", "memory.rows_lost", "memory.delta", "follow.json"}
"""Of results and of code."""


def every(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    found = [(page, code) for page in PAGES for code in inline_code(page) if pattern.fullmatch(code)]
    assert len(found) > 10
    return found


def test_files_that_are_named_are_there_and_hold_the_names() -> None:
    for page, code in every(_FILE):
        path, _, name = code.partition(":")
        assert (ROOT / path).exists(), f"{page}: {path}"
        held: Any = importlib.import_module(path.removesuffix(".py").replace("/", ".")) if name else None
        for part in name.split(".") if name else []:
            held = getattr(held, part, None) or getattr(held, "__annotations__", {}).get(part)
            assert held is not None, f"{page}: {path} has no {name}"


def test_settings_that_are_named_are_settings() -> None:
    for page, code in every(_SETTING):
        section, name = code.split("=")[0].strip().split(".")
        if f"{section}.{name}" not in _NOT_SETTINGS:
            assert name in _section(section).model_fields, f"{page}: {code}"


def test_defaults_in_tables_of_settings_are_the_defaults() -> None:
    rows = [row for row in tables("docs/own_data.md") if len(row) == 3 and _SETTING.fullmatch(row[0].strip("`"))]
    assert len(rows) > 10
    for setting, default, _ in rows:
        section, name = setting.strip("`").split(".")
        value = tomllib.loads(f"value = {default.strip('`')}")["value"]
        assert _section(section).model_fields[name].default == value, setting


def test_commands_that_are_named_are_there_with_their_options() -> None:
    for _, code in every(re.compile(r"(?:marm|make) [a-z].*")):
        words = code.split()
        check_make(words) if words[0] == "make" else check_options(words)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    lost = [target for target in links(page) if not (ROOT / page).parent.joinpath(target).exists()]
    assert not lost


def test_the_tour_draws_the_floors_as_they_are() -> None:
    (drawing,) = [block.text for block in blocks("docs/tour.md") if block.language == "floors"]
    drawn = [set(line.split()) for line in reversed(drawing.splitlines())]
    assert drawn == [floor for floor in FLOORS if floor != {"__main__"}]


def test_the_tour_names_every_folder_of_the_package() -> None:
    named = set(re.findall(r"^\| `marm/(\w+)/`", text_of("docs/tour.md"), re.MULTILINE))
    there = {path.parent.name for path in (ROOT / "marm").glob("*/__init__.py")}
    assert named == there - {"config"}


def test_the_paper_page_maps_each_function_of_the_paper() -> None:
    rows = {row[0]: row for row in tables("docs/paper.md") if len(row) == 3}
    for function in FUNCTIONS:
        assert _FILE.search(rows[function][1]), function


def test_every_kind_of_trouble_is_explained() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "marm" / "data").glob("*.py"))
    kinds = set(re.findall(r'(?:TroubleError|Trouble|\.trouble)\(\s*"([a-z ]+)"', source))
    assert len(kinds) > 10
    explained = text_of("docs/own_data.md")
    assert not [kind for kind in kinds if not re.search(rf"^\| {kind}\b", explained, re.MULTILINE)]


def test_the_arithmetic_of_memory_comes_out_as_the_page_says() -> None:
    base = {"data": {"log": "log", "user": "u", "item": "i", "time": "t"}, "tasks": {"click": {"column": "c"}}}
    run = RunConfig.model_validate(base)
    capacity = run.memory.window + run.train.live + 1 + run.memory.slack
    states = (run.model.layers - 1) * run.model.width * 2
    arena, store = capacity * (states + 32), capacity * states + run.memory.facts * 32
    page = text_of("docs/own_data.md")
    assert f"{capacity} rows of" in page
    assert f"{arena:,} bytes a user in the arena" in page
    assert f"{store:,} bytes in the store" in page
    assert run.memory.hot // arena // 1000 == 100


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:home|work|tmp|Users)/", text_of(page)), page


def _section(name: str) -> type[BaseModel]:
    if name == "tasks":
        return TaskConfig
    annotation = RunConfig.model_fields[name].annotation
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation


def test_the_readme_lists_every_file_of_a_run_folder() -> None:
    listed = {row[0].strip("`/") for row in tables("README.md") if len(row) == 2}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "marm" / "train").glob("*.py"))
    files = set(re.findall(r'(?:out|folder) / "([\w.]+)"', source))
    assert len(files) > 5
    assert files <= listed
