"""Tables for the screen, against lines written by hand."""

from gsto_viz.text_table import text_table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("name", "value", "n"), ("a", 1.5, 10), ("longer name", None, 2)]
    assert text_table(rows) == [
        "name         value   n",
        "a              1.5  10",
        "longer name      -   2",
    ]


def test_sides_indent_and_texts_between_rows() -> None:
    heading = "a heading that is longer than any row of it"
    rows = [("a", "b", "c", "d"), heading, ("xx", "y", 333, 1)]
    assert text_table(rows, "<<>", indent="  ") == [
        "  a   b    c  d",
        heading,
        "  xx  y  333  1",
    ]


def test_rows_of_other_lengths_and_no_blanks_at_the_end() -> None:
    assert text_table([("long", "x"), ("a",), ("b", "", "z"), ()], "<") == [
        "long  x",
        "a",
        "b        z",
        "",
    ]
    assert text_table([]) == []
    assert text_table(["only a text"]) == ["only a text"]
