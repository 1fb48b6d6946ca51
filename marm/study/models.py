"""Which models a study compares, each as settings laid over the run file."""

from typing import Any

from marm.config import RunConfig, StagesConfig
from marm.config.load import check_run
from marm.errors import SettingError

Sections = dict[str, dict[str, Any]]

LONGER = 4
"""How many windows of rows a search goes through; a rival attends to one window of them, MARM to one beside its own."""

SEARCHING = ("sim_hard", "sim_soft", "twin", "eta")


def overlays(run: RunConfig) -> dict[str, Sections]:
    """Settings of each model by its name, in the order of a table; ``run`` is MARM's own."""
    window, layers = run.memory.window, run.model.layers
    # What only MARM has: another model would refuse it.
    alone: Sections = {"memory": {"search": None, "refresh": 0, "store_top": False, "keys": "event"}}
    longer: Sections = {"memory": {**alone["memory"], "window": LONGER * window}, "rival": {"picked": window}}
    reach: Sections = {"memory": {**alone["memory"], "window": layers * window}}
    plain = {"token_shift": False, "raw_rows": False, "task_layers": False, "equal_ids": False}
    rivals = ("mean", "din", *SEARCHING, "sasrec", "hstu")
    models: dict[str, Sections] = {"none": {"model": {"layers": 0}, **alone}}
    for kind in rivals:
        models[kind] = {"model": {"kind": kind, **plain}, **(longer if kind in SEARCHING else alone)}
    models["one layer"] = {"model": {"layers": 1}, **alone}
    models["one layer reach"] = {"model": {"layers": 1}, **reach}
    models["stca"] = {"model": {"memory_reads": False}, **alone}
    models["stca reach"] = {"model": {"memory_reads": False}, **reach}
    models["paper keys"] = {"memory": {**alone["memory"], "keys": "item"}}
    models["recompute"] = {"model": {"kind": "recompute"}, **alone}
    found = {"rule": "dot", "picked": window, "history": (LONGER - 1) * window}
    models["marm + search"] = {"memory": {"search": found, "keys": "event"}}
    models["marm"] = {}
    return models


def laid_over(run: RunConfig, *sections: Sections) -> RunConfig:
    """A run with these settings in place of its own. Errors: ``SettingError``."""
    raw = run.model_dump(exclude_none=True)
    for one in sections:
        for section, values in one.items():
            raw[section] = {**raw[section], **values}
    return check_run(raw, "study")


def must_be_marm(run: RunConfig) -> None:
    """Errors: ``SettingError`` for a run that a study has nothing of MARM's to compare with."""
    if run.model.kind != "marm" or not run.model.layers or not run.model.memory_reads:
        raise SettingError(
            'a study compares with MARM as the run file sets it: set model.kind = "marm" and layers above 0'
        )


def chosen(run: RunConfig, names: str | None) -> dict[str, RunConfig]:
    """The models named, commas between, or all that a run file's log allows. Errors: ``SettingError`` for another name."""
    must_be_marm(run)
    models = overlays(run)
    if run.searched_by is None:
        del models["sim_hard"]
    if run.memory.search:  # MARM's own has one
        del models["marm + search"]
    if run.model.layers < 2:  # one layer reads no state
        del models["paper keys"]
    wanted = [name.strip() for name in names.split(",")] if names else list(models)
    for name in wanted:
        if name not in models:
            raise SettingError(f"--models {name}: no such model here; there are {', '.join(models)}")
    if "marm" not in wanted:
        wanted.append("marm")
    run = run.model_copy(update={"stages": StagesConfig()})
    return {name: laid_over(run, models[name]) for name in models if name in wanted}
