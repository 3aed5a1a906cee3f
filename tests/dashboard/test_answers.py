"""What the dashboard answers, and whom it lets change anything: over HTTP, before a coordinator that is played."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from clusters import cluster, deployment, epoch, node, worker
from ended import ended
from two_x import TwoX

from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.where import Where
from cutwater.engine.facts.gateways import Note
from cutwater.engine.facts.models import ModelRecord
from cutwater.fabric.base import Message
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.asking import CoordinatorRequest, Deploy, Done, GetStatus
from cutwater.services.cache import BlobCache
from cutwater.services.dashboard.dashboard import Dashboard
from cutwater.services.dashboard.drills import Drills
from cutwater.services.dashboard.ledger import Ledger
from cutwater.services.facts import ASK_COORDINATOR, NOTES, decode, encode
from cutwater.services.front.picture import Picture
from cutwater.services.home import Home

JSON = {"content-type": "application/json"}


class Bed:
    """A dashboard on a port, and what its coordinator says and is asked."""

    def __init__(self, fabric: MemoryFabric, dashboard: Dashboard) -> None:
        self.fabric, self.dashboard = fabric, dashboard
        self.url = ""
        self.http: aiohttp.ClientSession
        self.asked: list[Deploy] = []
        pair = (worker(0, "a", pid=os.getpid()), worker(1, "b"))
        nodes = (node("a", workers=pair), node("b", age=2.0, workers=pair))
        record = ModelRecord(name="vit", hash="h", blob="0" * 64, nbytes=1, profile="1" * 64, speed=1.0)
        seen = cluster(*nodes, deployments=(deployment(epoch(*pair)),))
        self.status = msgspec.structs.replace(seen, models=(record,))

    async def answer(self, message: Message) -> bytes:
        request: CoordinatorRequest = decode(message.data, CoordinatorRequest)  # type: ignore[arg-type]
        if isinstance(request, GetStatus):
            return encode(self.status)
        assert isinstance(request, Deploy)
        self.asked.append(request)
        return encode(Done())

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        async with self.http.post(self.url + path, json=body, headers={**JSON, **headers}) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            return await answer.json()


@asynccontextmanager
async def serving(folder: Path, drills: bool) -> AsyncIterator[Bed]:
    async with MemoryFabric(MemoryServer()) as fabric:
        picture, home = Picture(fabric), Home(folder)
        backend, options = TwoX(), HttpOptions()
        cache = BlobCache(folder / "cache", 2**20, fabric.blobs)
        dashboard = Dashboard(picture, fabric, backend, cache, Drills(home, drills), Ledger())
        bed = Bed(fabric, dashboard)
        await fabric.serve(ASK_COORDINATOR, bed.answer)
        await picture.fresh()
        server = HttpServer(make_app(backend, options, dashboard.routes()), Where("127.0.0.1", 0), options)
        bed.url = await server.start()
        keeping = asyncio.create_task(dashboard.keep())
        async with aiohttp.ClientSession() as bed.http:
            yield bed
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.stop(1.0)


Story = Callable[[Bed], Awaitable[None]]


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., None]:
    """Tell a story before a dashboard."""

    def tell(story: Story, drills: bool = False) -> None:
        async def within() -> None:
            async with asyncio.timeout(20.0), serving(tmp_path, drills) as bed:
                await story(bed)

        asyncio.run(within())

    return tell


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    kind = ""
    async for line in answer.content:
        if line.startswith(b"event: "):
            kind = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield kind, msgspec.json.decode(line[6:])


async def until(found: AsyncIterator[tuple[str, Any]], is_it: Callable[[Any], bool]) -> AsyncIterator[tuple[str, Any]]:
    """Events up to the one that is looked for."""
    async for kind, data in found:
        yield kind, data
        if is_it(data):
            return


def test_the_page_may_load_and_ask_nothing_but_its_gateway(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        async with bed.http.get(bed.url + "/") as page:
            policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
            mark, text = page.headers["etag"], await page.text()
        assert set(policy.values()) == {"'none'", "'self'"}
        assert policy["default-src"] == "'none'"
        assert "http:" not in text
        assert "https:" not in text
        async with bed.http.get(bed.url + "/", headers={"if-none-match": mark}) as again:
            assert again.status == 304
        async with bed.http.get(bed.url + "/ui/static/app.js", headers={"accept-encoding": "gzip"}) as script:
            assert (script.headers["content-encoding"], script.content_type) == ("gzip", "text/javascript")
        async with bed.http.get(bed.url + "/ui/static/..%2fdashboard.py") as stranger:
            assert stranger.status == 404

    told(story)


def test_a_loss_is_told_at_once(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        async with bed.http.get(bed.url + "/ui/events") as answer:
            found = events(answer)
            kind, everything = await anext(found)
            assert (kind, everything["set"]["node/b"]["state"]) == ("everything", "silent")
            note = Note(at="2026-01-01T00:00:00+00:00", kind="lost", about="b", text="b has been silent for 3 s")
            await bed.fabric.publish(NOTES, encode(note))
            seen = [each async for each in until(found, lambda change: "node/b" in change.get("set", {}))]
            assert ("note", msgspec.to_builtins(note)) in seen
            assert seen[-1][1]["set"]["node/b"]["state"] == "lost"

    told(story)


def test_another_cut_is_deployed_and_the_rest_stays_as_it_was(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        status, _ = await bed.post("/ui/models/vit/deploy", {"cuts": ["40%"], "places": ["b", ""]}, origin=bed.url)
        assert status == 202
        [asked] = bed.asked
        assert (asked.spec.cuts, asked.spec.places, asked.spec.window) == (("40%",), ("b", ""), 9)
        status, said = await bed.post("/ui/models/vit/deploy", {"cut": ["40%"]})
        assert (status, "unknown field `cut`" in said["error"]) == (400, True)
        status, said = await bed.post("/ui/models/other/forecast", {})
        assert (status, "knows no model 'other'" in said["error"]) == (404, True)

    told(story)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_no_other_site_changes_anything(told: Callable[..., None], headers: dict[str, str], status: int) -> None:
    async def story(bed: Bed) -> None:
        found, said = await bed.post("/ui/models/vit/deploy", {"cuts": ["40%"]}, **headers)
        assert (found, bed.asked) == (status, []), said

    told(story)


def test_single_requests_are_listed_and_laid_out(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        bed.dashboard.observe(ended(1, latency=0.013))
        bed.dashboard.observe(ended(2, fault="WorkerLost"))
        lists = await bed.get("/ui/requests?model=vit")
        assert {name: [each["request"] for each in found] for name, found in lists.items()} == {
            "recent": ["g-2", "g-1"],
            "slowest": ["g-1"],
            "failed": ["g-2"],
        }
        one = await bed.get("/ui/requests/g-1")
        kinds = [kind for kind, *_ in one["pieces"]]
        stage = ["hop", "queue", "decode", "compute", "encode", "hold"]
        assert kinds == ["wait", *stage, *stage, "hop"]
        assert sum(seconds for *_, seconds in one["pieces"]) == pytest.approx(0.013)
        assert one["exact"]
        assert (await bed.get("/ui/requests/g-2"))["pieces"] == []
        assert "no longer" in (await bed.get("/ui/requests/g-9"))["error"]

    told(story)


def test_drills_are_off_unless_the_owner_says_so(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        status, said = await bed.post("/ui/drills", {"kind": "kill", "worker": "vit.1.0.0.0"})
        assert (status, "switched off" in said["error"]) == (403, True)

    told(story)


def test_a_drill_touches_no_process_that_is_not_a_worker_of_this_home(told: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        # The node says that its worker is this very process.
        status, said = await bed.post("/ui/drills", {"kind": "kill", "worker": "vit.1.0.0.0"})
        assert (status, "no worker that runs on this machine" in said["error"]) == (404, True)
        status, said = await bed.post("/ui/drills", {"kind": "explode", "worker": "vit.1.0.0.0"})
        assert (status, "there are kill, hang" in said["error"]) == (404, True)
        status, _ = await bed.post("/ui/drills", {"kind": "kill", "worker": "vit.1.0.0.0", "pid": 1})
        assert status == 400

    told(story, drills=True)
