"""The dashboard in a real browser, before a real cluster: it moves, it tells of losses, it can be used by everybody."""

import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import browser
from live_cluster import MODEL, LiveCluster, live_cluster
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from cutwater.cut.lattice import Lattice
from cutwater.engine.facts.deployments import EpochPhase

pytestmark = pytest.mark.slow

VIEWS = ("overview", "fleet", "requests", "models", "try", "events", "drills")
LAPTOP, PHONE = (1280, 800), (360, 740)
SECONDS = 1000
expect.set_options(timeout=20 * SECONDS)


class Reader:
    """Somebody who has the page open; whatever goes wrong on it is kept."""

    def __init__(self, opened: Browser, url: str) -> None:
        self.url = url
        self.strangers: list[str] = []
        """What the page asked elsewhere."""
        self.complaints: list[str] = []
        self._browser = opened
        self._contexts: list[BrowserContext] = []
        self.page = self.open(LAPTOP)

    def open(self, size: tuple[int, int], scheme: str = "light", motion: str = "no-preference") -> Page:
        """Another window."""
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,  # type: ignore[arg-type]
            reduced_motion=motion,  # type: ignore[arg-type]
        )
        self._contexts.append(context)
        context.route("**/*", self._watch)
        context.set_default_timeout(20 * SECONDS)
        page = context.new_page()
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def see(self, view: str, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(f"{self.url}/#/{view}")
        expect(page.locator("h1")).to_be_visible()
        return page

    def _watch(self, route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(self.url).netloc:
            route.continue_()
        else:
            self.strangers.append(route.request.url)
            route.abort()


@pytest.fixture(scope="module")
def cluster(vit_tiny: Path, vit_lattice: Lattice) -> Iterator[LiveCluster]:
    with live_cluster(vit_tiny, vit_lattice) as made:
        yield made


@pytest.fixture(scope="module")
def reader(cluster: LiveCluster) -> Iterator[Reader]:
    with browser() as opened:
        made = Reader(opened, cluster.url)
        yield made
        assert made.strangers == [], "the page asks nobody but its gateway"
        assert made.complaints == [], "nothing went wrong on the page"


def test_charts_move_and_stages_show_what_they_do(reader: Reader) -> None:
    page = reader.see("overview")
    line = page.locator(".chart path.line").first
    expect(page.locator(".chart .legend b").first).to_have_text(re.compile(r"[1-9]\d*(\.\d+)?/s"))
    before = line.get_attribute("d")
    expect(line).not_to_have_attribute("d", before or "")
    stages = page.locator(".deployment .stage")
    expect(stages).to_have_count(2)
    expect(stages.first).to_contain_text("measured")
    expect(stages.first.locator(".pair b")).to_have_text(re.compile(r"\d.* (µs|ms)"))
    expect(page.locator(".deployment")).to_contain_text("Bottleneck:")
    expect(page.locator(".deployment .flow.on")).to_have_count(3)
    expect(page.locator(".spent .stack i").first).to_be_visible()


def test_a_request_shows_where_its_time_went(reader: Reader) -> None:
    page = reader.see("requests")
    page.locator(".list li a").first.click()
    story = page.locator(".details")
    expect(story.locator("h2")).to_contain_text("Request")
    expect(story.locator(".waterfall")).to_contain_text("stage 1 computes")
    expect(story.locator(".waterfall")).to_contain_text("stage 2 computes")
    expect(story.locator(".waterfall")).to_contain_text("way back")


def test_what_if_is_answered_and_deployed(reader: Reader, cluster: LiveCluster) -> None:
    page = reader.see(f"models/{MODEL}")
    forecast = page.get_by_role("region", name="Forecast")
    expect(forecast).to_contain_text("Bottleneck")
    handle = page.get_by_role("slider", name="Cut 1")
    cut = handle.get_attribute("aria-valuetext")
    handle.focus()
    page.keyboard.press("End")
    expect(handle).not_to_have_attribute("aria-valuetext", cut or "")
    slow = forecast.locator("tr.strong td").first
    expect(slow).to_contain_text("−"), "the last cut is a bad one"
    handle.press("Home")
    box, chart = handle.locator("circle").bounding_box(), page.locator("svg.cuts").bounding_box()
    assert box is not None
    assert chart is not None
    dragged = handle.get_attribute("aria-valuetext") or ""
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(chart["x"] + chart["width"] * 0.7, box["y"], steps=3)
    page.mouse.up()
    expect(handle).not_to_have_attribute("aria-valuetext", dragged)
    page.get_by_label("Node of stage 1").select_option("node-3")
    expect(forecast.locator(".foreseen li").first).to_contain_text("on node-3")
    page.get_by_label("Cut 1", exact=True).and_(page.locator("input")).fill("no such layer")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert")).to_contain_text("no layer, op or tensor 'no such layer'")
    page.get_by_label("Cut 1", exact=True).and_(page.locator("input")).fill("70%")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Deploy this").click()
    page.get_by_role("dialog").get_by_role("button", name="Deploy").click()
    page.get_by_role("link", name="Watch it").click()
    expect(page.locator(".deployment header").first).to_contain_text("epoch 2")
    [deployment] = cluster.status().deployments
    live = next(epoch for epoch in deployment.epochs if epoch.phase is EpochPhase.LIVE)
    assert (live.epoch, deployment.spec.cuts, live.workers[0].node) == (2, ("70%",), "node-3")


def test_a_picture_is_tried(reader: Reader) -> None:
    page = reader.see("try")
    page.locator("input[type=file]").set_input_files({"name": "red.png", "mimeType": "image/png", "buffer": red_png()})
    answer = page.get_by_role("region", name="Answer")
    expect(answer.locator(".labels li")).to_have_count(5)
    expect(answer.locator(".labels li").first).to_contain_text("thing")
    expect(answer).to_contain_text("in the cluster")
    expect(answer.locator(".waterfall")).to_contain_text("stage 2 computes")
    expect(answer).to_contain_text(re.compile(r"Stage 1 on node-\d, Stage 2 on node-\d"))
    assert page.locator("canvas").evaluate("it => it.getContext('2d').getImageData(5, 5, 1, 1).data[0]") == 255


def test_a_drill_asks_first_and_the_cluster_takes_it(reader: Reader) -> None:
    page = reader.see("drills")
    kill = page.get_by_role("button", name=re.compile("Kill stage 2")).last
    kill.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("[role=status].note-line")).to_have_count(0)
    kill.click()
    page.get_by_role("dialog").get_by_role("button", name="Kill it").click()
    expect(page.locator("[role=status].note-line")).to_contain_text("was killed")
    expect(reader.see("overview").locator(".deployment")).to_contain_text("restarted 1 times")


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (LAPTOP, "dark"), (PHONE, "light")])
def test_everybody_can_read_it(reader: Reader, size: tuple[int, int], scheme: str) -> None:
    page = reader.open(size, scheme, "reduce")
    for view in VIEWS:
        reader.see(view, page)
        if view == "models":
            expect(page.get_by_role("slider").first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{view} is wider than the window"
        assert faults(page) == [], f"{view} in {scheme}"
    page.context.close()


def faults(page: Page) -> list[tuple[str, str]]:
    """What keeps some people from reading or using the page, gravely: the rule, and where it is broken."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]


def test_who_wants_no_motion_sees_none(reader: Reader) -> None:
    page = reader.open(LAPTOP, motion="reduce")
    reader.see("overview", page)
    flow = page.locator(".flow.on").first
    expect(flow).to_be_visible()
    assert flow.evaluate("it => getComputedStyle(it).animationName") == "none"
    page.context.close()


def test_the_keyboard_is_enough(reader: Reader) -> None:
    page = reader.open(LAPTOP)
    reader.see("overview", page)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    expect(page.locator(".skip")).to_be_in_viewport()
    for view in ("Fleet", "Requests", "Models"):
        walk(page, view)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text(view)
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("Shift+Tab")
        page.locator(".skip").focus()
    expect(page.get_by_role("slider").first).to_be_visible()
    walk(page, "", "slider")
    said = page.locator(":focus").get_attribute("aria-valuetext") or ""
    page.keyboard.press("ArrowRight")
    expect(page.locator(":focus")).not_to_have_attribute("aria-valuetext", said)
    expect(page.get_by_role("button", name="Deploy this")).to_be_visible()
    walk(page, "Deploy this")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Deploy this")).to_be_focused()
    page.context.close()


def walk(page: Page, text: str, role: str = "") -> None:
    """Press Tab until the focus is on what says ``text``, or has that role."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        if (role and focus.get_attribute("role") == role) or (text and focus.inner_text().strip() == text):
            return
    raise AssertionError(f"the keyboard does not reach {text or role}")


@pytest.mark.alone
def test_a_dead_node_shows_within_three_seconds(reader: Reader, cluster: LiveCluster) -> None:
    page = reader.see("fleet")
    card = page.locator("[data-node=node-2]")
    expect(card).to_have_class(re.compile("alive"))
    cluster.kill("node-2")
    died = time.monotonic()
    expect(card).to_have_class(re.compile("silent|lost"), timeout=5 * SECONDS)
    noticed = time.monotonic() - died
    expect(card).to_have_class(re.compile("lost"))
    expect(card).to_contain_text("Lost")
    expect(page.locator("#nav .count")).to_have_text("1")
    assert noticed <= 3.0
    assert faults(page) == []
    expect(reader.see("events").get_by_role("log")).to_contain_text("node-2 lost")


def red_png(side: int = 64) -> bytes:
    """A picture by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * side for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
