"""Who may come in: with a token, and without one from this machine and its own pages only."""

from base64 import b64encode

import pytest
from http_bed import Bed, number, on_bed

from cutwater.api.http.guard import is_loopback
from cutwater.api.http.options import HttpOptions

TOKEN = "open-sesame"


def basic(password: str) -> str:
    return f"Basic {b64encode(f'me:{password}'.encode()).decode()}"


def test_without_the_token_nothing_is_told_but_that_the_server_lives() -> None:
    async def story(bed: Bed) -> None:
        assert (await bed.ask("/v2/health/live")).status == 200
        for path in ("/v2", "/v2/health/ready", "/docs", "/openapi.json", "/nothing"):
            said = await bed.ask(path)
            assert (said.status, "wants its token" in said.error) == (401, True)
            assert said.headers["WWW-Authenticate"].startswith("Bearer")
        x = number([1.0, 2.0, 3.0, 4.0])
        for shown in (f"Bearer {TOKEN}x", "Bearer", f"Token {TOKEN}", TOKEN, basic("guess"), "Basic !!", "Bearer öö"):
            said = await bed.infer("two_float32", x, headers={"Authorization": shown})
            assert said.status == 401, shown
        assert bed.backend.asked == []

    on_bed(story, HttpOptions(token=TOKEN))


def test_with_the_token_everything_is_open_from_anywhere() -> None:
    async def story(bed: Bed) -> None:
        x = number([1.0, 2.0, 3.0, 4.0])
        for shown in (f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN)):
            headers = {"Authorization": shown, "Host": "models.example"}
            assert (await bed.infer("two_float32", x, headers=headers)).status == 200

    on_bed(story, HttpOptions(token=TOKEN))


def test_a_browser_that_knows_the_password_does_not_show_it_for_other_pages() -> None:
    async def story(bed: Bed) -> None:
        own = {"Authorization": basic(TOKEN), "Host": "models.example", "Origin": "https://models.example"}
        assert (await bed.ask("/v2", headers=own)).status == 200
        said = await bed.ask("/v2", headers={**own, "Origin": "https://evil.example"})
        assert said.status == 403

    on_bed(story, HttpOptions(token=TOKEN))


def test_names_that_lead_here_but_are_not_ours_are_refused() -> None:
    async def story(bed: Bed) -> None:
        for headers in (
            {"Host": "rebound.example"},
            {"Host": "rebound.example:8000"},
            {"Host": "127.0.0.1.rebound.example"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
        ):
            said = await bed.infer("two_float32", number([1.0, 2.0, 3.0, 4.0]), headers=headers)
            (shown,) = headers.values()
            assert (said.status, shown in said.error) == (403, True), headers
        assert bed.backend.asked == []
        for headers in ({"Host": "localhost"}, {"Origin": f"http://localhost:{bed.port}"}, {"Host": "[::1]:8000"}):
            assert (await bed.ask("/v2", headers=headers)).status == 200

    on_bed(story)


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b"localhost", True),
        (b"LOCALHOST:8000", True),
        (b"app.localhost:80", True),
        (b"127.0.0.1", True),
        (b"127.9.9.9:1", True),
        (b"[::1]", True),
        (b"https://[::1]:8443", True),
        (b"", False),
        (b"0.0.0.0", False),
        (b"10.0.0.1", False),
        (b"[::1", True),
        (b"[fe80::1]", False),
        (b"2130706433", False),
        (b"localhost.evil.example", False),
        (b"evil.example//localhost", False),
        (b"\xff\xfe", False),
    ],
)
def test_names_of_the_loopback(value: bytes, ours: bool) -> None:
    assert is_loopback(value) is ours
