"""A plan in words, with its arithmetic, and as JSON."""

from dataclasses import asdict
from typing import Any

from marm.config import RunConfig
from marm.report.text import count, size, whole
from marm.study.plan import Choice, Plan

_DAY = 86_400
_SHOWN = 5


def as_text(plan: Plan, run: RunConfig) -> str:
    """The best sizes as Markdown, then the first one's settings and how each of its figures comes about."""
    head = ["L", "n", "d", "codec", "C = L n d", "GAUC by the law (95 %)", "bytes a user", "all users", "ms for 500"]
    rows = [head, ["---:"] * len(head), *(_cells(one, plan) for one in plan.choices[:_SHOWN])]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    sure = _sure(plan)
    return "\n".join(
        [*lines, "", *_settings(plan.choices[0], run), "", *_arithmetic(plan), *([""] if sure else []), *sure]
    )


def _cells(one: Choice, plan: Plan) -> list[str]:
    told = f"{one.gauc:.4f} ({one.low:.4f} to {one.high:.4f})" + (" *" if one.extrapolated else "")
    sizes = [str(one.layers), str(one.window), str(one.width), one.codec, count(one.numbers), told]
    total = one.user_bytes * plan.budget.users
    return [*sizes, size(one.user_bytes), size(total), f"{one.milliseconds:.1f} (to {one.most_milliseconds:.1f})"]


def _settings(one: Choice, run: RunConfig) -> list[str]:
    lines = [f"--set model.layers={one.layers} --set model.width={one.width} --set memory.window={one.window}",
             f"--set memory.codec={one.codec} --set memory.facts={one.rows}"]  # fmt: skip
    if run.train.live > one.window:
        lines.append(f"--set train.live={one.window}")
    return ["Settings: " + " ".join(lines)]


def _arithmetic(plan: Plan) -> list[str]:
    one, budget, cost = plan.choices[0], plan.budget, costs(plan)
    users, cores = whole(budget.users), plan.studied.places[0]["machine"]["cores"]
    return [
        f"{plan.fitting} of {plan.tried} sizes fit into {size(budget.bytes)} for {users} users and {budget.milliseconds:g} ms.",
        f"memory   {one.rows} rows of a full ring x {one.row_bytes} bytes (states and facts) = {one.user_bytes:,} bytes a "
        f"user; x {users} users = {size(cost['bytes'])}; with rings as full as by the run's log ({plan.rows_now:.1f} rows), "
        f"{size(cost['bytes_now'])}",
        f"network  {budget.requests:g} requests a user and day x {users} users / {_DAY} s = {whole(cost['requests_per_s'])} "
        f"requests/s; x {one.user_bytes:,} bytes = {size(cost['read_bytes_per_s'])}/s read; {budget.events:g} events a user "
        f"and day x {one.row_bytes} bytes = {size(cost['written_bytes_per_s'])}/s written; both on average over the day",
        f"compute  {whole(cost['requests_per_s'])} requests/s x {one.milliseconds:.1f} ms for 500 candidates on the {cores} "
        f"cores of the study's machine = {whole(cost['cores'])} such cores busy, on average over the day",
    ]


def costs(plan: Plan) -> dict[str, float]:
    """Of the first choice at scale."""
    one, budget = plan.choices[0], plan.budget
    requests = budget.requests * budget.users / _DAY
    return {
        "bytes": one.user_bytes * budget.users,
        "bytes_now": plan.rows_now * one.row_bytes * budget.users,
        "requests_per_s": requests,
        "read_bytes_per_s": requests * one.user_bytes,
        "written_bytes_per_s": budget.events * budget.users / _DAY * one.row_bytes,
        "cores": requests * one.milliseconds / 1000.0 * plan.studied.places[0]["machine"]["cores"],
    }


def _sure(plan: Plan) -> list[str]:
    """What the figures rest on, and what weakens them."""
    fit, best = plan.studied.fit, max(plan.studied.places, key=lambda place: place["gauc"])
    law = fit.law
    lines = [
        f"law      GAUC = {law.a:.4f} {law.b:+.4f} C^{law.c:.2f} from {len(plan.studied.places)} places; at places held out "
        f"it is wrong by {fit.held_out:.4f}, their mean by {fit.spread:.4f}. Best measured: {best['gauc']:.4f} at "
        f"L {best['layers']}, n {best['window']}, d {best['width']}.",
    ]
    if fit.held_out >= fit.spread:
        lines.append("warning  the law foretells no better than the mean of the places: trust the places, not the law.")
    if plan.choices[0].extrapolated:
        lines.append(
            "warning  * is larger than anything that was studied: add such a place to the study before buying."
        )
    if len({one.codec for one in plan.choices}) > 1:
        lines.append("warning  the study has one codec: what another costs in GAUC is not in these figures.")
    return lines


def as_json(plan: Plan) -> dict[str, Any]:
    """All of it."""
    fit = plan.studied.fit
    law = {name: [getattr(fit.law, name), *fit.interval(name)] for name in ("a", "b", "c")}
    choices = [{**asdict(one), "numbers": one.numbers, "user_bytes": one.user_bytes} for one in plan.choices[:_SHOWN]]
    return {
        "budget": asdict(plan.budget),
        "law": {**law, "held_out_rmse": fit.held_out, "mean_rmse": fit.spread},
        "latency_error": plan.studied.latency.error,
        "tried": plan.tried,
        "fitting": plan.fitting,
        "choices": choices,
        "costs": costs(plan),
    }
