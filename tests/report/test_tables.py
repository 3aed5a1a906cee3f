"""Tables show what they are given, whatever it looks like."""

from rich.console import Console

from cutwater.report.table import filled


def test_names_with_brackets_stand_in_a_table_as_they_are() -> None:
    console = Console(width=80)
    with console.capture() as shown:
        console.print(filled("Stages", ("stage", "from"), [("1", "after layer[q]"), ("2", "after [/attention]")]))
    assert "after layer[q]" in shown.get()
    assert "after [/attention]" in shown.get()
