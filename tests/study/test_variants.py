"""A study of variants changes what it says it changes, and measures beside quality what it is about."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from marm.cli.app import app
from marm.config import RunConfig, to_toml
from marm.errors import SettingError
from marm.study.ablate import ablate
from marm.study.codecs import codecs, state_bytes
from marm.study.models import laid_over
from marm.study.segments import segments
from marm.study.variants import study_variants
from marm.study.variants_page import table, write_page
from tests.study.test_rivals import show
from tests.train.logs import log_frame, run_over, write_world


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    world = write_world(tmp_path_factory.mktemp("variants"), log_frame(events=160))
    return run_over(world, model={"layers": 2}, train={"cut_every": 10**6, "micro_batch": 32})


def test_every_ablation_differs_from_the_run_in_one_setting(run: RunConfig) -> None:
    variants = ablate(run).variants
    assert next(iter(variants)) == "as set" and len(variants) == 15
    base = run.model_dump()
    for name, sections in variants.items():
        other = laid_over(run, sections).model_dump()
        changed = [(s, k) for s, values in other.items() if isinstance(values, dict)
                   for k, value in values.items() if value != base[s].get(k)]  # fmt: skip
        assert len(changed) == (name != "as set"), name
    flat = laid_over(run, {"model": {"layers": 1}})
    assert "without memory reads" in variants and not set(ablate(flat).variants) & {
        "without memory reads",
        "states by item",
    }
    with pytest.raises(SettingError, match="no such variant"):
        ablate(run, "depth")


def test_variants_are_trained_compared_and_shown_and_what_a_run_cannot_be_is_told(
    run: RunConfig, tmp_path: Path
) -> None:
    searched = laid_over(run, {"memory": {"search": {"rule": "dot", "picked": 2, "history": 20}}})
    only = "states by item, without feed-forward, without live gradient"
    found = study_variants(searched, tmp_path, show, ablate(searched, only), 2)
    assert [model.name for model in found.models] == ["as set", "without live gradient", "without feed-forward"]
    assert "memory.search" in found.left_out["states by item"]
    base, *others = found.models
    for one in others:
        assert one.above["click"].value == pytest.approx(one.aucs["click"].gauc - base.aucs["click"].gauc)
    assert len({one.trained[0].result["tasks"]["click"]["logloss"] for one in found.models}) == 3
    page = write_page(tmp_path, found).read_text()
    assert "memory.search" in page and page.count("<svg") == 2 and len(table(found).splitlines()) == 2 + 3


def test_segments_are_as_long_as_the_live_cap_lets_them_be(run: RunConfig, tmp_path: Path) -> None:
    found = study_variants(run, tmp_path, show, segments([1, 4], [32]), 1)
    told = {name: figures["mean length"] for name, figures in found.measured.items()}
    # Ties are whole, so that a few are longer than the cap.
    assert 1 < told["live 1, steps of 32"] < 1.2 < told["live 4, steps of 32"] < told["live 4, gathered"]
    assert found.measured["live 1, steps of 32"]["p90"] == 1 and found.measured["live 4, gathered"]["p90"] == 4


def test_coarser_states_take_fewer_bytes_and_move_the_scores_of_the_same_weights(
    run: RunConfig, tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(to_toml(run))
    told = ["study", "codecs", str(file), "--out", str(tmp_path / "out"), "--seeds", "1", "--quiet"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0, done.exception
    assert len(done.stdout.strip().splitlines()) == 2 + 3
    found = study_variants(run, tmp_path / "out", show, codecs(), 1)
    size, drift = (
        {name: figures[key] for name, figures in found.measured.items()} for key in ("states a user", "drift")
    )
    assert size == {"float32": 8 * 8 * 4, "float16": 8 * 8 * 2, "int8": 8 * (8 + 2)}
    assert state_bytes(run) == size[run.memory.codec]
    assert 0 == drift["float32"] < drift["float16"] < drift["int8"] < 0.1 and np.isfinite(drift["int8"])
