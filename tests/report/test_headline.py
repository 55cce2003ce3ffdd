"""One headline table in three forms: the same rows, the same numbers."""

from html import unescape

from gsto_viz.report.headline import (
    headline_markdown,
    headline_rows,
    null_text,
    rows_html,
    rows_text,
)
from gsto_viz.words import INDICES, LAYOUT


def test_rows_are_the_numbers_of_the_report(analysis):
    for key in "AB":
        rows = headline_rows(analysis, key)
        assert [row.word.key for row in rows] == [*INDICES, LAYOUT.key]
        for name, row in zip(INDICES, rows, strict=False):
            assert row.estimate == analysis.index(key, name)
            assert row.nulls == analysis.nulls(key)[name]


def test_text_and_html_say_the_same(analysis):
    rows = headline_rows(analysis, "B")
    text, html = "\n".join(rows_text(rows)), unescape(rows_html(rows))
    draws = analysis.nulls("B")["sci"]["N3"].values
    for row in rows:
        for part in (row.word.label, f"{row.estimate.value:.3f}", row.meaning, *row.null_cells):
            assert part in text
            assert part in html
    assert f"N3 {min(draws):.3f} to {max(draws):.3f} ({len(draws)} draws)" in text


def test_markdown_has_a_column_for_every_network_difference_and_null(analysis):
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in headline_markdown(analysis, nulls=("N1", "N3")).splitlines()
    ]
    assert lines[0] == ["", "A", "B", "B - A", "N1 A / B", "N3 A", "N3 B"]
    assert {len(line) for line in lines} == {7}
    rows = {line[0]: line for line in lines[2:]}
    sci = {key: analysis.index(key, "sci").value for key in "AB"}
    assert rows["SCI"][1].startswith(f"{sci['A']:.2f}")
    compared = {one.index: one.difference.value for one in analysis.differences("A", "B")}
    assert rows["SCI"][3].startswith(f"{compared['sci']:.2f}")
    # 1 - A of the coarsest branch: its difference has the other sign.
    assert rows["c_coarse"][3].startswith(f"{-compared['a_last']:.2f}")
    means = [analysis.nulls(key)["sci"]["N1"].mean for key in "AB"]
    assert rows["SCI"][4] == " / ".join(f"{mean:.2f}" for mean in means)
    assert rows["SCI"][5] == null_text("N3", analysis.nulls("A")["sci"]["N3"])
    assert rows[LAYOUT.label][4:] == ["", "", ""]
    chosen = headline_markdown(analysis, indices={"sci"})
    assert chosen.count("\n") == 3
    assert "mIoU here" in chosen
