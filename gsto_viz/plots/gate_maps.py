"""All gate maps of networks on one image: one grid of transfers for every fusion."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.gates import NO_GATES, GatePanel
from gsto_viz.plots.layout import GAP, MARGIN, Page, shorten, text_height, wrap
from gsto_viz.plots.save import set_alt_text
from gsto_viz.types import Inspection, Sample

WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
HEAD = 0.22
"""Inches for a heading."""
CAPTION = (
    "Each map is the gate in front of one transfer, from the branch of its row to that of its "
    "column; it multiplies its source. The bar runs over what the form of the gates allows; below "
    "each map, the share of its cells that are as closed as the form allows."
)


def figure_gate_maps(
    sample: Sample, inspections: Mapping[str, Inspection], *, width: float = WIDTH
) -> Figure:
    """Draw every gate of every network, fusion by fusion.

    Args:
        sample: The image.
        inspections: By letter, what each network shows for it; a network without gates gets a line
            that says so.
        width: Of the page, inches.

    Raises:
        GstoVizError: No network is given, or gates have no range.
    """
    if not inspections:
        raise GstoVizError("no network was given; give what at least one shows for the image")
    size = (sample.image.shape[0], sample.image.shape[1])
    text = wrap(f"Image {sample.id}. {CAPTION}", width - 2 * MARGIN, 7.0)
    with style.context():
        panels = {
            letter: [(title, GatePanel(part, size, width)) for title, part in _fusions(inspection)]
            for letter, inspection in inspections.items()
        }
        height = 2 * MARGIN + text_height(text, 7.0)
        for own in panels.values():
            height += HEAD + sum(HEAD + panel.height + GAP for _, panel in own)
        page = Page(width, height)
        top = MARGIN
        for letter, inspection in inspections.items():
            top = _draw_network(page, top, letter, inspection, panels[letter])
        page.text(MARGIN, height - MARGIN, text, va="bottom")
    set_alt_text(page.figure, _alt_text(sample, inspections))
    return page.figure


def _fusions(inspection: Inspection) -> Iterable[tuple[str, Inspection]]:
    """Yield the gates of one fusion after the other, the transitions' with the last one."""
    sites = dict.fromkeys(
        name.partition(".gate")[0] for name in inspection.gates if name.startswith("stage")
    )
    rest = {n: g for n, g in inspection.gates.items() if not n.startswith("stage")}
    for site in sites:
        own = {n: g for n, g in inspection.gates.items() if n.partition(".gate")[0] == site}
        branches = int(site[len("stage") : site.index(".")])
        last = site == list(sites)[-1] and branches == len(inspection.strides)
        strides = inspection.strides[:branches]
        yield site, replace(inspection, gates=own | (rest if last else {}), strides=strides)
        if last:
            rest = {}
    if rest:
        yield "transitions", replace(inspection, gates=rest)


def _draw_network(
    page: Page,
    top: float,
    letter: str,
    inspection: Inspection,
    panels: list[tuple[str, GatePanel]],
) -> float:
    """Draw a network's heading and grids; return where the next one begins."""
    page.text(MARGIN, top, letter, fontsize=style.HEADING, fontweight="bold")
    name = inspection.name if panels else f"{inspection.name}: {NO_GATES}"
    room = page.width - 2 * MARGIN - 0.2
    page.text(MARGIN + 0.2, top, shorten(name, room, style.HEADING), fontsize=style.HEADING)
    top += HEAD
    for title, panel in panels:
        page.text(MARGIN, top, title, fontweight="bold")
        panel.draw(page, top + HEAD)
        top += HEAD + panel.height + GAP
    return top


def _alt_text(sample: Sample, inspections: Mapping[str, Inspection]) -> str:
    parts = [
        f"{letter} ({inspection.name}): {len(inspection.gates)} gate maps"
        if inspection.gates
        else f"{letter} ({inspection.name}): {NO_GATES}"
        for letter, inspection in inspections.items()
    ]
    return f"Gate maps on image {sample.id}. {'; '.join(parts)}. {CAPTION}"
