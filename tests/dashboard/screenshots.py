"""Makes the readme's pictures of the dashboard: real models on a cluster of this machine, under load.

python tests/dashboard/screenshots.py FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from browser import browser
from live_cluster import UP, LiveCluster
from PIL import Image
from playwright.sync_api import Browser, Page

CLASSIFIER, DETECTOR = "efficientnet-lite0", "yolov3-tiny"
PHOTOGRAPH = Path(__file__).parents[2] / "docs" / "pictures" / "coffee.jpg"
WARM_UP = 60_000
"""Milliseconds of load until the charts have something to show."""
WIDE, TALL = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


def overview(page: Page, url: str) -> None:
    page.goto(f"{url}/#/overview")
    page.locator(".spent").first.wait_for()


def what_if(page: Page, url: str) -> None:
    page.goto(f"{url}/#/models/{CLASSIFIER}")
    handle = page.get_by_role("slider")
    handle.first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Add a cut").click()
    page.get_by_text("Best plan,").wait_for()
    page.wait_for_timeout(2000)


def request(page: Page, url: str) -> None:
    page.goto(f"{url}/#/requests")
    page.locator(".list li a").first.click()
    page.locator(".waterfall").wait_for()


def fleet(page: Page, url: str) -> None:
    page.goto(f"{url}/#/fleet")
    page.locator(".node").first.wait_for()
    page.wait_for_timeout(1500)


def tried(page: Page, url: str) -> None:
    page.goto(f"{url}/#/try")
    page.get_by_label("Model").select_option(DETECTOR)
    page.locator("input[type=file]").set_input_files(PHOTOGRAPH)
    page.locator(".waterfall").wait_for()


def shoot(
    opened: Browser, url: str, scene: Callable[[Page, str], None], target: Path, size: dict[str, int], scheme: str
) -> None:
    context = opened.new_context(viewport=size, color_scheme=scheme, device_scale_factor=1.25)  # type: ignore[arg-type]
    page = context.new_page()
    scene(page, url)
    page.wait_for_timeout(800)
    page.screenshot(path=target, full_page=size is WIDE)
    context.close()
    with Image.open(target) as picture:
        picture.quantize(256).save(target, optimize=True)  # a third of the bytes, and nobody sees it
    print(target)


def main(folder: Path) -> None:
    """Bring everything up, look at it, and take it down."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as home:
        cluster = LiveCluster(Path(home))
        try:
            cluster.type("up", *UP)
            for model in (CLASSIFIER, DETECTOR):
                cluster.type("model", "add", model)
                cluster.type("deploy", model, "--stages", "2")
            with cluster.load(CLASSIFIER, rate=20), cluster.load(DETECTOR, rate=2), browser() as opened:
                idle = opened.new_page()
                overview(idle, cluster.url)
                idle.wait_for_timeout(WARM_UP)
                url = cluster.url
                shoot(opened, url, overview, folder / "dashboard.png", WIDE, "light")
                shoot(opened, url, overview, folder / "dashboard-phone.png", TALL, "light")
                shoot(opened, url, what_if, folder / "dashboard-what-if.png", WIDE, "dark")
                shoot(opened, url, tried, folder / "dashboard-try.png", WIDE, "light")
                shoot(opened, url, request, folder / "dashboard-request.png", WIDE, "dark")
                shoot(opened, url, fleet, folder / "dashboard-fleet.png", WIDE, "dark")
        finally:
            cluster.type("down")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
