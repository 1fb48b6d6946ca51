"""The inspector's page in a real browser: everything by keyboard, numbers as the API has them, nothing from elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.browser import Watched, opened
from tests.server.running import Running
from tests.server.test_inspector import timeline
from tests.server.test_serving import NOW, event

Start = Callable[..., Running]
Open = Callable[..., Watched]
AT = NOW + 100
ACCESSIBLE = Path(__file__).with_name("accessible.js").read_text(encoding="utf-8")
NASTY = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened() as one:
        yield one


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens the page; at the end nothing may have gone wrong in it."""
    pages: list[Watched] = []

    def begin(server: Running, path: str = "/", **options: object) -> Watched:
        pages.append(Watched(browser, server.address, **options))
        pages[-1].page.goto(server.address + path)
        return pages[-1]

    yield begin
    for one in pages:
        one.close()


def focus_on(page: Page, selector: str) -> None:
    """Go on with the Tab key until it stands on what is wanted."""
    for _ in range(40):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by Tab")


def go_through(page: Page) -> None:
    """Pick a user, a time, recommendations and an explanation, all by keyboard."""
    focus_on(page, "#user")
    page.keyboard.type("u1")
    expect(page.locator("#found [role=option]")).to_have_count(3)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#user")).to_have_attribute("aria-activedescendant", "found-0")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("User u1")
    focus_on(page, "#at")
    page.keyboard.type(str(AT))
    focus_on(page, "#recommend")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("items to show")
    focus_on(page, "#shown button")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("Most attended")


def test_all_of_it_goes_by_keyboard_and_shows_the_numbers_of_the_api(folder: Path, start: Start, visit: Open) -> None:
    server = start(folder)
    server.post("/v1/events", {"events": [event(1), event(2, outcomes={})]}, 202)
    watched = visit(server)
    go_through(watched.page)
    asked = {"user": "u1", "at": AT}
    shown = server.post("/v1/recommend", asked | {"k": 20})
    assert watched.texts("#shown tbody th") == [str(one["item"]) for one in shown["items"]]
    scores = watched.texts("#shown tbody td:nth-child(3)")
    assert scores == [f"{one['score']:.4f}" for one in shown["items"]]
    watch = watched.texts("#shown tbody td:nth-child(5)")
    assert watch == [f"{one['tasks']['watch']:.4f}" for one in shown["items"]]
    stages = watched.texts("#stages li")
    for said, stage in zip(stages, shown["trace"]["stages"], strict=False):
        assert said.startswith(stage["stage"])
        assert [int(word) for word in said.split() if word.isdigit()][:2] == [stage["taken"], stage["given"]]
    check_history(watched, timeline(server, "u1", at=AT))
    check_weights(watched, server.post("/v1/explain", asked | {"item": shown["items"][0]["item"]}))


def check_history(watched: Watched, found: dict) -> None:
    assert watched.texts("#rows tbody th") == [str(row["item"]) for row in found["rows"]]
    states = {"held": "remembered", "missing": "missing", "live": "live"}
    assert watched.texts("#rows .state") == [states[row["state"]] for row in found["rows"]]
    clicks = {1: "yes", 0: "no", "unknown": "unknown yet", None: "not observed"}
    said = [text.split("\n")[-1] for text in watched.texts("#rows tbody td:nth-child(5)")]
    assert [one.lstrip("✓–?·").strip() for one in said] == [clicks[row["outcomes"]["click"]] for row in found["rows"]]
    memory = dict(zip(watched.texts("#memory dt"), watched.texts("#memory dd"), strict=True))
    assert int(memory["Events remembered"]) == found["memory"]["events"] and int(memory["Since the cut, live"]) == 2
    assert f"{found['memory']['bytes'] / 1000:.1f} KB" == memory["Size"]
    assert memory["Ring"].split()[-1].rstrip("%") == f"{100 * found['memory']['fill']:.0f}"


def check_weights(watched: Watched, found: dict) -> None:
    heads = [head for layer in found["layers"] for head in layer["heads"]]
    assert watched.page.locator(".strip canvas").count() == len(heads) == 6
    focus_on(watched.page, "summary")
    watched.page.keyboard.press("Enter")
    expect(watched.page.locator("#weights tbody tr")).to_have_count(len(found["rows"]) + 1)
    table = [row.split("\t")[3:] for row in watched.texts("#weights tbody tr")]
    for h, head in enumerate(heads):
        for row, weight in zip(table, [*head["weights"], head["null"]], strict=True):
            said = row[h].strip()
            assert abs((0 if said == "<.001" else float(said)) - weight) <= 0.00051


def test_the_slider_reads_every_row_of_the_history(folder: Path, start: Start, visit: Open) -> None:
    server = start(folder)
    watched = visit(server)
    go_through(watched.page)
    found = server.post("/v1/explain", {"user": "u1", "at": AT, "item": read_item(watched)})
    focus_on(watched.page, "#row")
    watched.page.keyboard.press("Home")
    for row in found["rows"]:
        said = watched.page.locator("#row").get_attribute("aria-valuetext") or ""
        assert f"Item {row['item']}" in said and row["utc"][11:19] in said
        watched.page.keyboard.press("ArrowRight")


def read_item(watched: Watched) -> str:
    return watched.texts("#shown tr.chosen th")[0]


def test_latencies_are_live(folder: Path, start: Start, visit: Open) -> None:
    server = start(folder)
    watched = visit(server)
    expect(watched.page.locator("#latency")).not_to_contain_text("/v1/rank")
    server.post("/v1/rank", {"user": "u1", "candidates": [1]})
    expect(watched.page.locator("#latency tbody tr", has_text="/v1/rank")).to_contain_text("1")
    assert watched.texts("#latency tbody tr")[-2].split("\t")[:3] == ["/v1/rank", "1", "0"]


def test_ids_are_text_and_never_markup(folder: Path, start: Start, visit: Open) -> None:
    server = start(folder)
    server.post("/v1/items", {"items": [{"item": NASTY}]})
    server.post("/v1/events", {"events": [event(1, NASTY, item=NASTY), event(2, NASTY, item="later")]}, 202)
    page = visit(server).page
    page.locator("#user").fill("<img")
    expect(page.locator("#found [role=option] .id")).to_have_text([NASTY])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tbody th")).to_have_text(["later", NASTY])
    page.locator("#recommend").click()
    page.locator("#shown button", has_text="<img").click()
    expect(page.locator("#why-title")).to_have_text(f"Why item {NASTY}")
    page.locator("summary").click()
    expect(page.locator("#weights tbody th").first).to_have_text(NASTY)
    assert page.locator("img").count() == 0 and page.locator("body script").count() == 0
    assert page.evaluate("window.broken") is None


def test_ids_of_64_bits_stay_as_they_are(folder: Path, start: Start, visit: Open) -> None:
    server, big = start(folder), 2**53 + 1
    server.post("/v1/items", {"items": [{"item": big}]})
    server.post("/v1/events", {"events": [event(1, "9007199254740995", item=big)]}, 202)
    page = visit(server, "/#user=9007199254740995").page
    expect(page.locator("#rows tbody th")).to_have_text([str(big)])
    page.locator("#recommend").click()
    with page.expect_request("**/v1/explain") as asked:
        page.locator("#shown button", has_text=str(big)).click()
    assert asked.value.post_data_json["item"] == str(big)
    expect(page.locator("#why-title")).to_have_text(f"Why item {big}")


def test_a_token_is_asked_for_once_and_kept_for_the_tab(folder: Path, start: Start, visit: Open) -> None:
    server = start(folder, token="secret")
    watched = visit(server)
    page = watched.page
    for typed in ("wrong", "secret"):
        expect(page.locator("#ask")).to_be_visible()
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
    expect(page.locator("#cut")).to_contain_text("cut 3")
    page.reload()
    expect(page.locator("#cut")).to_contain_text("cut 3")
    assert not page.locator("#ask").is_visible() and page.evaluate("sessionStorage.length") == 1
    # The browser itself notes that requests were refused; nothing else may be wrong.
    assert watched.wrong and all("401" in said for said in watched.wrong)
    watched.wrong.clear()


def test_what_goes_wrong_is_said_where_it_is_read_out(folder: Path, start: Start, visit: Open) -> None:
    watched = visit(start(folder))
    page = watched.page
    page.locator("#user").fill("u1")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("User u1")
    page.locator("#at").fill("yesterday")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert")).to_contain_text("as the log writes times")
    watched.wrong.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_headings_contrast_and_focus_serve_everybody(
    folder: Path, start: Start, visit: Open, scheme: str
) -> None:
    server = start(folder)
    server.post("/v1/events", {"events": [event(1)]}, 202)
    page = visit(server, color_scheme=scheme).page
    expect(page.locator("#cut")).to_contain_text("cut 3")
    assert page.evaluate(ACCESSIBLE) == []
    go_through(page)
    page.locator("summary").click()
    page.locator("#user").fill("u")
    expect(page.locator("#found [role=option]")).to_have_count(11)
    page.wait_for_function("!document.body.classList.contains('busy')")
    assert page.evaluate(ACCESSIBLE) == []
    page.keyboard.press("Escape")
    outlines = []
    for _ in range(12):
        page.keyboard.press("Tab")
        outlines.append(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
    assert set(outlines) <= {"solid", "auto"}


def test_a_small_screen_scrolls_in_one_direction(folder: Path, start: Start, visit: Open) -> None:
    page = visit(start(folder), viewport={"width": 360, "height": 640}).page
    go_through(page)
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
