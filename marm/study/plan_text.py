"""A plan in words, with its arithmetic, and as JSON."""

from dataclasses import asdict
from typing import Any

from marm.config import RunConfig
from marm.report.text import count, size, whole
from marm.study.plan import Choice, Plan
from marm.study.scaling import law_line

_DAY = 86_400
_SHOWN = 5


def as_text(plan: Plan, run: RunConfig) -> str:
    """The best sizes as Markdown, then the first one's settings and how each of its figures comes about."""
    head = [*"LndK", "codec", "C = L n d", "GAUC by the law (95 %)", "bytes a user", "all users", "ms for 500"]
    rows = [head, ["---:"] * len(head), *(_cells(one, plan) for one in plan.choices[:_SHOWN])]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    sure = _sure(plan)
    return "\n".join(
        [
            *lines,
            "",
            *_settings(plan.choices[0], run, plan.studied.search),
            "",
            *_arithmetic(plan),
            *([""] if sure else []),
            *sure,
        ]
    )


def _cells(one: Choice, plan: Plan) -> list[str]:
    told = f"{one.gauc:.4f} ({one.low:.4f} to {one.high:.4f})" + (" *" if one.extrapolated else "")
    sizes = [*map(str, one.size), one.codec, count(one.size.numbers), told]
    total = one.user_bytes * plan.budget.users
    return [*sizes, size(one.user_bytes), size(total), f"{one.milliseconds:.1f} (to {one.most_milliseconds:.1f})"]


def _settings(one: Choice, run: RunConfig, search: dict[str, Any] | None) -> list[str]:
    layers, window, width, picked = one.size
    values = {"model.layers": layers, "model.width": width, "memory.window": window, "memory.codec": one.codec,
              "memory.facts": one.rows}  # fmt: skip
    if run.train.live > window:
        values["train.live"] = window
    if search and picked:
        values |= {f"memory.search.{name}": value for name, value in {**search, "picked": picked}.items()}
    drop = ["without the section [memory.search]"] if search and not picked and run.memory.search else []
    return ["Settings: " + " ".join([*(f"--set {name}={value}" for name, value in values.items()), *drop])]


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
        f"reads    {_reads(one)}; {count(one.flops)} FLOPs an event",
    ]


def _reads(one: Choice) -> str:
    """What one target reads."""
    window, picked = one.size.window, one.size.picked
    rows = f"{window} rows of the window" + (f" and {picked} picked" if picked else "")
    told = f"a target reads {rows} x {one.state_bytes} bytes of states = {size((window + picked) * one.state_bytes)}"
    return told + (f", each layer looks through {one.searched} rows x {one.key_bytes} bytes" if one.key_bytes else "")


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
    law, searched = fit.law, plan.studied.search is not None
    terms = (f" {law.e:+.5f} ln(1 + K)" if searched else "") + (f" {law.f:+.5f} ln L" if fit.places.depths else "")
    at_k = f", K {best['picked']}" if searched else ""
    lines = [
        f"law      GAUC = {law.a:.4f} {law.b:+.4f} C^{law.c:.2f}{terms} from {len(plan.studied.places)} places; each by the "
        f"law of the others is wrong by {fit.held_out:.4f}, by their mean by {fit.spread:.4f}. Best measured: "
        f"{best['gauc']:.4f} at L {best['layers']}, n {best['window']}, d {best['width']}{at_k}.",
        *_of_search(plan),
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


def _of_search(plan: Plan) -> list[str]:
    if plan.studied.search is None:
        return [
            "search   the study has one K, which is left as the run has it; `--picked` of the study compares several."
        ]
    low, high = plan.studied.fit.interval("e")
    told = f"{plan.studied.search['rule']}, K of the study {', '.join(map(str, plan.studied.picked))}"
    if low <= 0 <= high:
        return [f"warning  what a search brings may be nothing: its term is {low:+.5f} to {high:+.5f} ({told})."]
    return [f"search   {told}; its term is {low:+.5f} to {high:+.5f}; none beyond the study's is chosen."]


def as_json(plan: Plan) -> dict[str, Any]:
    """All of it."""
    fit = plan.studied.fit
    return {
        "budget": asdict(plan.budget),
        "law": law_line(fit),
        "search": plan.studied.search,
        "latency_error": plan.studied.latency.error,
        "tried": plan.tried,
        "fitting": plan.fitting,
        "choices": [_choice_line(one) for one in plan.choices[:_SHOWN]],
        "costs": costs(plan),
    }


def _choice_line(one: Choice) -> dict[str, Any]:
    told = {name: value for name, value in asdict(one).items() if name != "size"}
    return {**one.size._asdict(), **told, "numbers": one.size.numbers, "user_bytes": one.user_bytes}
