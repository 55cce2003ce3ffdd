"""Tables for the screen and for HTML pages."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest


def text_table(
    rows: Iterable[Sequence[object] | str], sides: str = "<>", *, indent: str = ""
) -> list[str]:
    """Lay rows out as lines whose columns are as wide as their widest cell.

    Args:
        rows: Cells of each row, the heads first; None is shown as a dash, and a row may have fewer
            cells than others. A text is a line as it is: a heading or a note between rows.
        sides: For each column the side at which its cells are aligned, ``<`` or ``>``; the last
            one holds for all columns that follow.
        indent: Stands before every row.

    Returns:
        One line per row, two blanks between columns, no blanks at the end.
    """
    table = [
        row if isinstance(row, str) else ["-" if cell is None else str(cell) for cell in row]
        for row in rows
    ]
    columns = zip_longest(*(row for row in table if not isinstance(row, str)), fillvalue="")
    forms = [
        f"{sides[min(k, len(sides) - 1)]}{max(map(len, column))}"
        for k, column in enumerate(columns)
    ]
    return [
        row if isinstance(row, str) else (indent + "  ".join(map(format, row, forms))).rstrip()
        for row in table
    ]


def html_table(
    rows: Iterable[Sequence[str]], sides: str = "<>", *, heads: Sequence[str] = ()
) -> str:
    """Lay rows out as an HTML table, every cell escaped.

    Args:
        rows: Cells of each row; the first one is its head.
        sides: As for :func:`text_table`; ``>`` makes cells of class ``number``.
        heads: Headings of the columns; without them there is no such row.
    """
    forms = {"<": "<td>", ">": "<td class=number>"}
    lines = ["".join(f"<th>{escape(head)}</th>" for head in heads)] if heads else []
    for first, *cells in rows:
        starts = [forms[sides[min(k, len(sides) - 1)]] for k in range(1, len(cells) + 1)]
        row = (f"{start}{escape(cell)}</td>" for start, cell in zip(starts, cells, strict=True))
        lines.append(f"<th>{escape(first)}</th>{''.join(row)}")
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
