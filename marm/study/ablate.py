"""`marm study ablate`: the run file with one thing changed at a time: what is on goes off, what is off goes on."""

from marm.config import RunConfig
from marm.study.models import Sections, must_be_marm
from marm.study.variants import Design, chosen_of

BASE = "as set"

SWITCHES = {
    "outcomes": "outcomes when read",
    "time_gap": "time gap",
    "rank": "rank",
    "fade": "fading",
    "user_id": "user id",
    "token_shift": "token shift",
    "task_layers": "a last layer for each task",
}
"""Settings of the model that any number of layers has."""

DEEP_SWITCHES = {
    "memory_reads": "memory reads",
    "raw_rows": "raw row beside the state",
    "all_states": "states of all layers to the tower",
    "live_gradient": "live gradient",
}
"""Those that say nothing where one layer reads raw rows alone."""


def ablate(run: RunConfig, only: str | None = None) -> Design:
    """One thing changed at a time; ``only``: names of variants, commas between.

    Errors: ``SettingError`` for a run that is not MARM, or a name that is none.
    """
    must_be_marm(run)
    model, deep = run.model, run.model.layers > 1
    variants: dict[str, Sections] = {BASE: {}}
    for name, told in {**SWITCHES, **(DEEP_SWITCHES if deep else {})}.items():
        if name == "fade" and model.equal_ids:
            continue  # There it is always on.
        on = getattr(model, name)
        variants[f"{'without' if on else 'with'} {told}"] = {"model": {name: not on}}
    variants["with feed-forward" if not model.ffn else "without feed-forward"] = {
        "model": {"ffn": 0 if model.ffn else 2}
    }
    variants["two heads" if model.heads == 1 else "one head"] = {"model": {"heads": 2 if model.heads == 1 else 1}}
    if deep:
        by_item = run.memory.keys == "item"
        variants[f"states by {'event' if by_item else 'item'}"] = {"memory": {"keys": "event" if by_item else "item"}}
    note = "Each variant is the run file with one setting changed; nothing is tuned again."
    return Design("What each part brings", BASE, chosen_of(variants, only, BASE), note)
