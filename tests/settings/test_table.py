"""The page of all settings."""

from pathlib import Path

from cutwater.settings.fields import fields
from cutwater.settings.table import settings_page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_declarations_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def test_every_setting_has_one_row() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(fields())
