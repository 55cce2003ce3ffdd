"""Figures to files: whole or not at all, the same bytes each time, with their alt text inside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.plots import style

FORMATS = ("pdf", "png", "svg")


def set_alt_text(figure: Figure, text: str) -> None:
    """Attach a description for readers who cannot see the figure."""
    figure.set_label(text)


def alt_text(figure: Figure) -> str:
    """Return the description of a figure made by this package; empty when there is none."""
    return str(figure.get_label())


def save_figure(
    figure: Figure,
    path: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    dpi: float | None = None,
) -> tuple[Path, ...]:
    """Write a figure to ``path`` + ``.pdf``, ``.png`` and/or ``.svg``.

    The same figure gives the same bytes under one matplotlib version: no date is written. The alt
    text goes into the file's description.

    Args:
        figure: What to write; its size in inches is kept.
        path: Path without suffix, e.g. ``runs/demo/figure1``.
        formats: Out of ``FORMATS``.
        dpi: Of PNGs and of pictures inside the others; None: that of the style.

    Returns:
        The files, in the order of ``formats``.

    Raises:
        GstoVizError: Unknown or no format, or the file cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise GstoVizError(
            f"cannot write figures as '{', '.join(unknown)}'; choose from {', '.join(FORMATS)}"
        )
    stem = Path(path)
    files = []
    with style.context():
        for name in formats:
            target = stem.parent / f"{stem.name}.{name}"
            with atomic_path(target) as temporary:
                about = _metadata(name, alt_text(figure))
                figure.savefig(temporary, format=name, dpi=dpi, metadata=about)
            files.append(target)
    return tuple(files)


def _metadata(name: str, description: str) -> dict[str, Any]:
    """Return the file's own fields; None takes out what matplotlib would write by itself."""
    if name == "pdf":
        return {"CreationDate": None, "Creator": "gsto_viz", "Subject": description}
    if name == "svg":
        return {"Date": None, "Creator": "gsto_viz", "Description": description}
    return {"Software": "gsto_viz", "Description": description}
