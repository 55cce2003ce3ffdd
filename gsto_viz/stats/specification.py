"""The specification curve: does B - A keep its sign whatever reasonable choices one makes?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.compare import compare_values
from gsto_viz.stats.inference import EACH, Images
from gsto_viz.stats.pairs import Size, Tables, branch_count, merge_tables, sci_values

FLOOR_PX = 64
"""Regions smaller than this have ``qualifies`` false in the region table."""


@dataclass(frozen=True)
class Specification:
    """Choices that one region table leaves open; the defaults are those of the headline."""

    size: Size = "area_px"
    gap: float = 1.0
    """Smallest difference of size, octaves."""
    response: str = "q"
    """``q``, ``q_whole`` or ``q_core``."""
    min_area_px: int = 64
    """Smallest region."""
    same_class: bool | None = None
    inside: bool = False
    """Without regions that touch the image border, whose size may be cut."""
    pure: bool = False
    """Only regions that fill at least half of their cells on the coarsest grid."""


@dataclass(frozen=True, eq=False)
class SpecificationCurve:
    """B - A under every specification, the headline's first."""

    table: pd.DataFrame
    """The settings, then ``difference``, ``low``, ``high``, ``p`` (not adjusted), ``n_images``,
    ``n_pairs``, ``reason``; one row per specification in the order given."""
    same_sign: float | None
    """Share of the estimated specifications whose difference has the sign of the headline's,
    itself included; None when the headline's is not estimated or is 0."""
    estimated: int
    """Specifications with a difference."""
    reason: str | None = None


def default_specifications() -> tuple[Specification, ...]:
    """Return the choices within one region table, the headline's first."""
    sizes: tuple[Size, ...] = ("area_px", "inscribed")
    grid = [
        Specification(size=size, gap=gap, response=response, min_area_px=area)
        for size, gap, response, area in product(
            sizes, (1.0, 0.5, 2.0), ("q", "q_whole"), (64, 16, 256)
        )
    ]
    extra = [Specification(same_class=True), Specification(inside=True), Specification(pure=True)]
    return (*grid, *extra)


def specified_values(tables: Tables, specification: Specification) -> pd.DataFrame:
    """Give SCI per image under one specification: ``image``, ``value``, ``pairs``."""
    response = specification.response
    purity = f"purity_{branch_count(tables, 'z') - 1}"
    columns = ["area_px", "max_distance_px", "class_id", "qualifies", "border", "z_0"]
    table = merge_tables(tables, [*columns, purity, response])
    # Below the floor a region does not qualify for its area alone, if it has a response at all.
    small = (table["area_px"] < FLOOR_PX) & table["z_0"].notna()
    table["qualifies"] = table["qualifies"].astype(bool) | small
    kept = table["area_px"] >= specification.min_area_px
    if specification.inside:
        kept &= ~table["border"].astype(bool)
    if specification.pure:
        kept &= table[purity] > 0.5
    return sci_values(
        table[kept],
        response=response,
        gap=(specification.gap, float("inf")),
        same_class=specification.same_class,
        size=specification.size,
    )


def specification_curve(
    specified: Iterable[tuple[Mapping[str, object], pd.DataFrame, pd.DataFrame]],
    *,
    images: Images = EACH,
) -> SpecificationCurve:
    """Compare A and B under every specification.

    Args:
        specified: Settings by name, and per-image values (``image``, ``value``, ``pairs``) of A
            and of B under them; the headline's first. All settings have the same names.
        images: Which images are independent, and the seed.

    Raises:
        GstoVizError: No specification is given.
    """
    rows = []
    for settings, a, b in specified:
        one = compare_values("sci", a, b, images=images)
        rows.append(
            {
                **settings,
                "difference": one.difference.value,
                "low": one.difference.low,
                "high": one.difference.high,
                "p": one.test.p,
                "n_images": one.difference.n_images,
                "n_pairs": one.difference.n_pairs,
                "reason": one.difference.reason,
            }
        )
    if not rows:
        raise GstoVizError("no specification was given; put the headline's first")
    numbers = dict.fromkeys(("difference", "low", "high", "p"), "float64")
    table = pd.DataFrame(rows).astype(numbers)
    known = table["difference"].dropna()
    first = table["difference"].iloc[0]
    if pd.isna(first) or first == 0:
        why = "the headline's difference is 0" if first == 0 else str(table["reason"].iloc[0])
        return SpecificationCurve(table, None, len(known), why)
    share = float((known * first > 0).mean())
    return SpecificationCurve(table, share, len(known))


def table_curve(
    tables_a: Tables,
    tables_b: Tables,
    *,
    specifications: Sequence[Specification] | None = None,
    images: Images = EACH,
) -> SpecificationCurve:
    """Draw the curve from the region tables of A and B alone.

    Other activities (raw, energy) and other sites need region tables of their own: make their
    per-image values with :func:`specified_values` and give them to :func:`specification_curve`.
    """
    chosen = default_specifications() if specifications is None else specifications
    return specification_curve(
        (
            (asdict(one), specified_values(tables_a, one), specified_values(tables_b, one))
            for one in chosen
        ),
        images=images,
    )
