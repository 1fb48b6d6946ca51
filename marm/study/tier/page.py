"""The page of a simulated memory tier, and its tables for a terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, DASHES, MUTED, Draw, Line, lines
from marm.report.run import figure_card
from marm.report.text import count, share, size, whole
from marm.study.tables import Cells, markdown
from marm.study.tier.study import Outcome, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HOUR = 3600.0
ARENAS = ("server", "trainer")


def write_page(out: Path, found: Study) -> Path:
    """Write ``report.html``."""
    base = found.base
    text = page.page(
        "The memory tier",
        f"{count(base.tier.people.users)} users, {count(base.tier.people.events)} events a day; hits of "
        f"{whole(found.sample.users)} users drawn from them, queues of {base.waiting.nodes} nodes",
        [
            page.tiles(_headline(base)),
            page.section("What there must be", [page.table("Arithmetic", ARITHMETIC, *arithmetic(base), text=2)]),
            page.section("Hot arenas", [_by_memory(found), _filling(found)]),
            page.section("Waiting", [page.table("A server's reading", "In the busiest hour.", *waiting(base), text=2)]),
            page.section("When something is lost", [page.table("Until it is as before", "", *losses(base), text=2)]),
            page.section("What moves it", [_sway(found), page.table("Half and twice", SWAY, *swayed(found))]),
            page.section("Settings", [page.settings(base.tier.model_dump())]),
        ],
    )
    return page.save(out / "report.html", text)


ARITHMETIC = "Each line from those above it; what is assumed and what is measured stands in the settings below."
SWAY = "One setting at a time; everything else as above."


def table(found: Study) -> str:
    """Markdown of the figures."""
    cells = [arithmetic(found.base), waiting(found.base), losses(found.base), swayed(found)]
    return "\n".join(markdown(one) for one in cells)


def _headline(one: Outcome) -> list[tuple[str, str]]:
    return [
        ("Machines", whole(one.needs.machines)),
        ("Memory, with replicas", size(one.needs.taken)),
        ("p99 of a reading", _ms(one.waiting.p99)),
        ("A day", whole(one.needs.cost)),
    ]


def arithmetic(one: Outcome) -> Cells:
    """Head and rows: what is stored, asked and needed, with how each comes about."""
    tier, needs, load, found = one.tier, one.needs, one.needs.load, one.found
    ring, has, people = tier.ring, tier.machines, tier.people
    rows = [
        ("bytes of a row", f"{ring.depths} depths x {ring.width} x {ring.number} + {ring.facts} of facts + {ring.sums} of sums",
         whole(needs.row)),
        ("bytes of a user", f"({ring.window} + {ring.beside}) rows x {needs.row} x {share(ring.filled)} filled",
         size(needs.user_bytes)),
        ("rows of all users", f"x {count(people.users)} users", size(needs.stored)),
        ("memory", f"x {has.overhead:g} in Redis x {1 + has.replicas} copies", size(needs.taken)),
        ("nodes by memory", f"/ ({size(has.node_memory)} x {share(has.full)})", whole(needs.nodes_by_memory)),
        ("events/s, busiest hour", f"{count(people.events)} / 86,400 x {people.peak:.2f}", count(load.events)),
        ("requests/s", f"/ {people.request:g} events of a request", count(load.requests)),
        ("found in servers' arenas", "simulated", share(found.server_hit)),
        ("found in trainers' arenas", "simulated", share(found.trainer_hit)),
        ("readings/s", "what is not found", count(load.reads)),
        ("bytes read/s", f"x {size(needs.user_bytes)}", size(load.read_bytes)),
        ("users written/s", f"requests x {share(found.written)}: several of a user within one cut are one, simulated",
         count(load.written_users)),
        ("bytes written/s", f"events x {needs.row}, once; x {1 + has.replicas} copies", size(load.written_bytes)),
        ("nodes by work", f"seconds of work a second / {share(has.busy)} busy x {1 + has.replicas} copies",
         whole(needs.nodes_by_cores)),
        ("partitions", f"the larger number of nodes / {1 + has.replicas} copies", whole(needs.nodes / (1 + has.replicas))),
        ("a step's fan-out", f"nodes that the readings of {has.together} users go to", f"{needs.fan_out:.0f}"),
        ("machines of the store", f"by memory {needs.store_by_memory}, by cores {needs.store_by_cores}, by network "
         f"{needs.store_by_network}", whole(needs.store)),
        ("machines that train", f"{tier.costs.learn * 1e6:.0f} µs of a core an event; {share(has.busy)} busy",
         whole(needs.trainers)),
        ("machines that serve", f"{tier.costs.answer * 1e3:.0f} ms of a core a request", whole(needs.servers)),
        ("cost of a day", f"{needs.machines} machines x 24 h x {tier.prices.machine_hour:g}", whole(needs.cost)),
        ("writing of a cut", f"in times between two cuts, by {has.writers} writing process" + "es" * (has.writers > 1),
         f"{needs.writing:.2f}"),
        ("all states made anew", "on the machines that train", f"{needs.rebuild / _HOUR:.1f} h"),
    ]  # fmt: skip
    return ["figure", "from", "value"], [list(row) for row in rows]


def waiting(one: Outcome) -> Cells:
    """Head and rows: a server's readings."""
    wait = one.waiting
    told = {"half of them": wait.p50, "99 of 100": wait.p99, "99 of 100, no cut being written": wait.quiet_p99,
            "99 of 100, while a cut is written": wait.writing_p99}  # fmt: skip
    rows = [[name, f"{whole(wait.calls)} readings, {wait.nodes} nodes", _ms(seconds)] for name, seconds in told.items()]
    return ["take up to", "simulated", "time"], [*rows, ["a cut is in all nodes", "", f"{wait.written_in:.1f} s"]]


def losses(one: Outcome) -> Cells:
    """Head and rows: what comes back when."""
    needs, has = one.needs, one.tier.machines
    users = one.tier.people.users / needs.store
    return ["what is lost", "what follows", "time"], [
        ["a machine of the store", f"replicas serve; {count(needs.unremembered)} requests of {count(users)} users go without",
         f"{has.promotion:g} s"],
        ["", f"new replicas are filled, {size(needs.taken / needs.store)} over a network {share(has.busy)} busy",
         f"{needs.refill:.0f} s"],
        ["a machine that trains", "the stream goes back to the last cut", f"up to {has.cut:g} s of events"],
        ["everything but the log's facts", "all states are made anew", f"{needs.rebuild / _HOUR:.1f} h"],
    ]  # fmt: skip


def swayed(found: Study) -> Cells:
    """Head and rows: what half and twice of each setting come to."""
    head = ["setting", "machines", "nodes", "readings/s", "p99", "a day"]
    rows = [["as it is", *_told(found.base)]]
    for one in found.swayed:
        rows += [[f"{one.name}, half", *_told(one.half)], [f"{one.name}, twice", *_told(one.twice)]]
    return head, rows


def _told(one: Outcome) -> list[str]:
    needs = one.needs
    return [whole(needs.machines), whole(needs.nodes), count(needs.load.reads), _ms(one.waiting.p99), whole(needs.cost)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _by_memory(found: Study) -> str:
    here = [Line(name, *(np.array([one[key] for one in found.by_memory]) for key in (f"{name}_arena", f"{name}_hit")))
            for name in ARENAS]  # fmt: skip
    note = "Share of requests that find their user; servers begin anew with each cut."
    return page.chart(figure_card("Hits against arena of a machine", note, _curves(here), list(ARENAS)))


def _curves(curves: list[Line]) -> Draw:
    def draw(axes: "Axes") -> None:
        axes.set_xscale("log", base=2)
        for i, curve in enumerate(curves):
            axes.plot(curve.x, curve.y, "o-", color=COLOURS[i], linewidth=1.8, markersize=3.5)
        axes.set_ylim(0, 1)
        axes.xaxis.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: size(value))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")

    return draw


def _filling(found: Study) -> str:
    minutes = found.filling.minutes
    curves = [Line(name, minutes, getattr(found.filling, name)) for name in ARENAS]
    note = "Minutes after an arena began with nothing in the busiest hour."
    return page.chart(figure_card("Hits after a restart", note, lines(curves, (0, 1), "%"), list(ARENAS)))


def _sway(found: Study) -> str:
    base = found.base.needs.cost
    ends = [(one.name, one.half.needs.cost / base, one.twice.needs.cost / base) for one in found.swayed]
    ends.sort(key=lambda one: -abs(one[2] - one[1]))

    def draw(axes: "Axes") -> None:
        at = np.arange(len(ends))[::-1]
        axes.axvline(1, color=MUTED, linewidth=1.2, linestyle=DASHES)
        for place, (_, half, twice) in zip(at, ends, strict=True):
            axes.plot([half, twice], [place, place], color=COLOURS[5], linewidth=1.6)
            axes.plot([half], [place], "o", color=COLOURS[1], markersize=5)
            axes.plot([twice], [place], "o", color=COLOURS[0], markersize=5)
        axes.set_yticks(at, [name for name, _, _ in ends])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} x")
        axes.grid(axis="x", alpha=0.4)

    note = "Cost of a day, in times of what it is, with a setting doubled (first colour) and halved (second)."
    return page.chart(figure_card("What moves the cost", note, draw, ["twice", "half"], wide=True))
