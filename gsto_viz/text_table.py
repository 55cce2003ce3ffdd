"""Tables for the screen."""

from collections.abc import Iterable, Sequence
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
