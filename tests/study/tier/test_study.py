"""What there must be is worked out by hand for one tier; a study of a small sample leaves its files."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from marm.cli.app import app
from marm.errors import SettingError
from marm.study.tier.settings import FRAGMENTATION, KEYS, Costs, Machines, People, Prices, Ring, Tier
from marm.study.tier.size import Found, asking, needs_of, reading
from marm.study.tier.wait import waiting_in
from tests.docs.pages import text_of

EVEN = People(users=1e6, events=86_400_000, request=10, hours=(1,) * 24)
TIER = Tier(
    people=EVEN,
    ring=Ring(depths=2, width=16, number=2, facts=28, sums=8, window=80, beside=20, filled=0.5),
    machines=Machines(node_memory=1e9, memory=4e9, cores=8, network=1e9, replicas=1, full=0.5, busy=0.5, overhead=1.25, cut=10),
    costs=Costs(read_call=6e-5, read_user=4e-5, read_byte=0, wake=0, append_user=2e-4, append_byte=0, ask_call=0, ask_node=0,
                ask_user=0, ask_byte=0, write_user=1e-3, write_byte=1e-6, learn=0.01, answer=0.04, remake=0.001),
    prices=Prices(machine_hour=2),
)  # fmt: skip


def test_what_there_must_be_is_as_worked_out_by_hand() -> None:
    """1,000 events and 100 requests a second; a row is 64 + 28 + 8 = 100 bytes, a user 100 x 100 x half = 5,000."""
    needs = needs_of(TIER, Found(server_hit=0.2, trainer_hit=0.5, written=0.25))
    assert (needs.row, needs.user_bytes, needs.stored) == (100, 5000, 5e9)
    assert needs.taken == 5e9 * 1.25 * 2 and needs.nodes_by_memory == math.ceil(12.5e9 / 0.5e9) == 25
    assert (needs.load.server_reads, needs.load.trainer_reads, needs.load.written_users) == pytest.approx((80, 50, 25))
    assert needs.load.read_bytes == pytest.approx(130 * 5000) and needs.load.written_bytes == pytest.approx(1e5)
    # 130 x 0.1 ms + 25 x 0.2 ms of work are less than a core; memory asks for seven machines of four nodes.
    assert (needs.nodes_by_cores, needs.store_by_memory, needs.store_by_cores, needs.store_by_network) == (2, 7, 4, 1)
    assert (needs.trainers, needs.servers) == (math.ceil(10 / 4), math.ceil(4 / 4))
    assert needs.cost == (7 + 3 + 1) * 24 * 2
    # 25 users a second at 1 ms and 4,000 bytes of 1 us each.
    assert needs.writing == pytest.approx(25 * (1e-3 + 4e-3))
    assert needs.fan_out == pytest.approx(12 * (1 - (11 / 12) ** 64))
    assert needs.rebuild == pytest.approx(1e6 * 100 * 0.5 * 0.001 / (3 * 8))
    assert needs.unremembered == pytest.approx(80 / 7 * 16) and needs.refill == pytest.approx(12.5e9 / 7 / 0.5e9)


def test_a_call_costs_beside_its_nodes_users_and_bytes() -> None:
    """A user has 5,000 bytes: 1 us each for the node, 2 us for the asking side."""
    tier = TIER.set(costs={"read_byte": 1e-6, "ask_call": 0.08, "ask_node": 0.01, "ask_user": 0.005, "ask_byte": 2e-6})
    assert reading(tier) == pytest.approx(6e-5 + 4e-5 + 5e-3)
    assert asking(tier, 1, 1) == pytest.approx(0.08 + 0.01 + 0.005 + 0.01)
    assert asking(tier, 8, 4) == pytest.approx((0.08 + 4 * 0.01) / 8 + 0.005 + 0.01)
    # Servers ask for 80 users a second one at a time, trainers for 50 in calls of 64; a machine has four cores' time for it.
    needs = needs_of(tier.set(costs={"ask_call": 0.985}), Found(server_hit=0.2, trainer_hit=0.5, written=0.25))
    trained = (0.985 + needs.fan_out * 0.01) / 64 + 0.015
    assert needs.servers == math.ceil(4 / 4) + math.ceil(80 * (0.985 + 0.01 + 0.015) / 4) == 1 + 21
    assert needs.trainers == 3 + math.ceil(50 * trained / 4) == 3 + 1


def test_a_reading_waits_for_a_node_that_was_idle() -> None:
    tier = TIER.set(costs={"jitter": (1.0,), "append_user": 0})
    found = Found(server_hit=0.2, trainer_hit=0.5, written=0.25)
    asleep = tier.set(costs={"wake": 0.01})
    awake, woken = (waiting_in(one, needs_of(one, found), 2000) for one in (tier, asleep))
    assert woken.p50 - awake.p50 == pytest.approx(0.01, rel=0.05)


def test_room_in_redis_is_that_of_the_newest_line_and_the_same_on_every_page() -> None:
    lines = map(json.loads, text_of("benchmarks/results/store_read.jsonl").splitlines())
    newest = [line["redis_bytes"] for line in lines if "redis_bytes" in line][-1]
    assert newest["bytes_a_user"] / newest["rows_bytes_a_user"] == pytest.approx(KEYS, abs=0.005)
    assert newest["fragmentation"] == FRAGMENTATION
    whole, keys = Machines().overhead, f"{KEYS - 1:.0%}".replace("%", " %")
    assert whole == pytest.approx(KEYS * FRAGMENTATION, abs=0.005)
    for page, said in {
        "docs/scale.md": [f"| x {whole}: keys {KEYS}, fragmentation {FRAGMENTATION} (", f"| 60 TB / {whole} /"],
        "docs/operations.md": [f"bytes x {whole}: Redis takes {keys} on top and {FRAGMENTATION} times that"],
        "docs/cluster.md": [f"some {keys} on top", f"the process {FRAGMENTATION} times"],
    }.items():
        assert [text_of(page).count(words) for words in said] == [1] * len(said), page


def test_readings_wait_for_a_cut_that_is_written_and_less_where_its_writing_is_spread() -> None:
    found = Found(server_hit=0.2, trainer_hit=0.5, written=0.25)
    tier = TIER.set(costs={"append_user": 0.02, "write_user": 0, "write_byte": 0}, machines={"cut": 200})
    at_once = waiting_in(tier, needs_of(tier, found), 20_000)
    spread = tier.set(machines={"spread": 0.9})
    evenly = waiting_in(spread, needs_of(spread, found), 20_000)
    assert at_once.writing_p99 > 10 * at_once.quiet_p99 > 0
    assert evenly.p99 < at_once.p99 / 2 and evenly.written_in > at_once.written_in


def test_the_command_prints_tables_and_leaves_a_page(tmp_path: Path) -> None:
    costs = tmp_path / "tier.jsonl"
    costs.write_text(json.dumps({"costs": {"read_call": 0.5}}) + "\n")
    file = tmp_path / "tier.toml"
    file.write_text("[prices]\nmachine_hour = 7.0\n")
    words = ["study", "tier", "--out", str(tmp_path / "out"), "--users", "40", "--calls", "100", "--quiet"]
    fewer = ["--set", "people.users=1000000.0", "--set", "people.events=1.25e8"]
    done = CliRunner().invoke(app, [*words, "--costs", str(costs), "--file", str(file), *fewer])
    assert done.exit_code == 0 and "x 24 h x 7" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "out" / "tier.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["costs"]["read_call"] == 0.5 and lines[0]["settings"]["people"]["users"] == 1e6
    stored = {line["case"]: line["stored"] for line in lines}
    assert stored["users, twice"] == 2 * stored["base"] == 4 * stored["users, half"]
    assert (tmp_path / "out" / "report.html").read_text().count("<svg") == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "people.userz=3"], "no setting people.userz; did you mean people.users?"),
        (["--file", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--costs", "nowhere.jsonl"], "nowhere.jsonl: no JSON line with costs"),
        (["--set", "people.hours=[1.0]"], "people.hours: give 24 weights"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], told: str) -> None:
    error = CliRunner().invoke(app, ["study", "tier", "--out", str(tmp_path), *words]).exception
    assert isinstance(error, SettingError) and told in str(error) and "\n" not in str(error)
