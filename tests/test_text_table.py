"""Tables for the screen and for pages, against lines written by hand."""

from gsto_viz.text_table import html_table, text_table


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


def test_html_cells_are_escaped_and_numbers_have_their_class() -> None:
    assert html_table([("a<b", "1", "x & y")], "<><", heads=("", "n", "what")) == (
        "<table><tr><th></th><th>n</th><th>what</th></tr>"
        "<tr><th>a&lt;b</th><td class=number>1</td><td>x &amp; y</td></tr></table>"
    )
    assert html_table([("a", "1", "2")]) == (
        "<table><tr><th>a</th><td class=number>1</td><td class=number>2</td></tr></table>"
    )
