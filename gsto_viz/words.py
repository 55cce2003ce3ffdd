"""What things are called wherever they are shown: one row for each.

Command line, tables, figures, ``report.html`` and the explorer read the same rows, so an index, a
null model, a way to draw maps and an attribution method have one name and one sentence everywhere.
Colours of branches and networks are in ``colors``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, TypeVar

from gsto_viz.errors import GstoVizError


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


Row = TypeVar("Row", bound=_Keyed)


def _by_key(*rows: Row) -> dict[str, Row]:
    return {row.key: row for row in rows}


def load_function(reference: str) -> Callable[..., Any]:
    """Return what ``MODULE:NAME`` names."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: ``A``, ``A and B``, ``A, B and C``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def first_few(names: Sequence[object], most: int = 3) -> str:
    """Name the first few, and count the rest: ``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def counted(number: int, one: str, more: str = "") -> str:
    """Return a number with the words that follow it; for more than one by default with an s."""
    return f"{number} {one if number == 1 else more or one + 's'}"


PAIRS, OBJECTS = "pairs, then images", "objects, then images"
AS_SCI = "0 aware, 0.5 chance, 1 reversed"
AWARE = "0 aware, 0.5 chance"


@dataclass(frozen=True)
class Index:
    """An index of a network; a row of ``INDICES`` and the function that it names are all of it.

    Attributes:
        key: In tables and JSON.
        label: In tables for people.
        meaning: The probability that it estimates, in one sentence without a full stop.
        range: What its values say.
        over: What it is averaged over.
        title: Above its chart.
        axis: At the axis of its chart.
        noise: Whether the band that noise alone reaches was measured for it.
        function: ``MODULE:NAME``, called with the ``Objects`` (``gsto_viz.stats.pairs``) of one
            image: its value and the number of pairs or objects behind it, or None where the image
            has none. Empty: it is made from other tables.
        reads: Columns of the region table that ``function`` reads, beside sizes and classes;
            ``{last}`` stands for the number of the coarsest branch.
        family: How its differences between networks are tested: among the ``confirmatory`` indices
            (Holm) or the ``exploratory`` ones (Benjamini and Hochberg). Empty: not at all.
        complement: The index that it is 1 minus of, whose comparison, sign turned, is its own.
        permuted: Whether permuted sizes (N4) are a null model of it; depths are not permuted.
    """

    key: str
    label: str
    meaning: str
    range: str = AS_SCI
    over: str = PAIRS
    title: str = ""
    axis: str = AS_SCI
    noise: bool = False
    function: str = ""
    reads: tuple[str, ...] = ()
    family: Literal["confirmatory", "exploratory", ""] = "exploratory"
    complement: str = ""
    permuted: bool = True


_PREFERENCE = "0 prefers smaller, 1 larger regions"
_PAIRS = "gsto_viz.stats.pairs"
INDICES = _by_key(
    Index(
        "sci",
        "SCI",
        "two objects of one image are ordered the wrong way round",
        title="SCI: order of two regions of one image",
        noise=True,
        function=f"{_PAIRS}:wrong_order",
        reads=("q",),
        family="confirmatory",
    ),
    Index(
        "sci_edge",
        "SCI_edge",
        "the core of an object is finer than its own edge",
        AWARE,
        OBJECTS,
        title="SCI_edge: core against band of one region",
        function=f"{_PAIRS}:finer_core",
        reads=("max_distance_px", "q_core", "q_band"),
        family="confirmatory",
        permuted=False,
    ),
    Index(
        "c_fine",
        "c_fine",
        "the finest branch prefers the larger object",
        AWARE,
        title="c_fine: finest branch prefers the larger",
        function=f"{_PAIRS}:finest_prefers_larger",
        reads=("z_0",),
    ),
    Index(
        "c_coarse",
        "c_coarse",
        "the coarsest branch prefers the smaller object",
        AWARE,
        title="c_coarse: coarsest branch prefers the smaller",
        function=f"{_PAIRS}:coarsest_prefers_smaller",
        reads=("z_{last}",),
        family="",
        complement="a_last",
    ),
    Index(
        "a_first_matched",
        "A finest, matched",
        "the finest branch, on the coarsest grid, prefers the larger object",
        "below 0.5 aware",
        title="A of the finest branch, coarsest grid",
        axis=_PREFERENCE,
        function=f"{_PAIRS}:matched_finest_prefers_larger",
        reads=("z_matched_0",),
        family="confirmatory",
    ),
    Index(
        "a_last",
        "A coarsest",
        "the coarsest branch prefers the larger object",
        "above 0.5 aware",
        title="A of the coarsest branch",
        axis=_PREFERENCE,
        function=f"{_PAIRS}:coarsest_prefers_larger",
        reads=("z_{last}",),
        family="confirmatory",
    ),
    Index(
        "sci_same_class",
        "SCI, same class",
        "SCI of pairs of one class",
        "as SCI",
        title="SCI, pairs of one class",
        noise=True,
        function=f"{_PAIRS}:wrong_order_in_class",
        reads=("q",),
    ),
    Index(
        "sci_whole",
        "SCI, whole masks",
        "SCI of whole masks instead of cores",
        "as SCI",
        title="SCI, whole masks",
        noise=True,
        function=f"{_PAIRS}:wrong_order_of_whole",
        reads=("q_whole",),
    ),
)
"""The indices of the headline, in the order in which they are shown."""
LAYOUT = Index(
    "layout_adjusted",
    "SCI, layout out",
    "SCI after the mean map of the data set is subtracted",
    "as SCI",
)
SCI_C = Index("sci_c", "SCI_C", "SCI of exact Shapley values of the branches", "as SCI")
STP = Index(
    "stp",
    "STP, twice as large",
    "an object that grows is answered coarser",
    "1 aware, 0.5 blind, 0 reversed",
    OBJECTS,
)
STP_BLUR = Index(
    "stp_beyond_blur",
    "STP beyond blur",
    "the same, minus what blur alone does",
    "0 no more than blur",
    OBJECTS,
)


def index_label(key: str) -> str:
    """Return what an index is called in tables for people; ranges of gaps included."""
    if key.startswith("sci_gap_"):
        low, high = key.removeprefix("sci_gap_").split("_")
        return f"SCI, {low} octaves or more" if high == "up" else f"SCI, {low} to {high} octaves"
    known = {**INDICES, **_by_key(LAYOUT, SCI_C, STP, STP_BLUR)}
    return known[key].label if key in known else key


@dataclass(frozen=True)
class NullModel:
    """A null model: an index after the link to size was broken on purpose.

    One that breaks the regions or the maps of an image is a row and the function that it names.

    Attributes:
        key: In tables and JSON.
        label: Beside its line in a chart.
        meaning: What is broken.
        expected: What to look for in it.
        spread: Whether the range of its draws counts and not their mean: each is another network.
        function: ``MODULE:NAME``, called with the ``PreparedRegions`` and the activity maps of one
            image; yields the regions and maps of each draw. Empty: it needs more than these, and
            ``gsto_viz.report`` makes it.
    """

    key: str
    label: str
    meaning: str
    expected: str
    spread: bool = False
    function: str = ""


OWN = "none"
"""The value of ``null`` in rows of the networks themselves."""

NULLS = _by_key(
    NullModel(
        "N1",
        "N1 shifted labels",
        "annotation shifted on the torus",
        "near 0.5; below it: the map has a global gradient",
    ),
    NullModel(
        "N2",
        "N2 swapped labels",
        "annotation of another image",
        "below 0.5 when layout alone helps (roads are large and at the bottom)",
    ),
    NullModel(
        "N3",
        "N3 random weights",
        "random weights",
        "the null that matters most: untrained networks are not at 0.5",
        spread=True,
    ),
    NullModel("N4", "N4 permuted sizes", "sizes permuted within the image", "near 0.5"),
    NullModel(
        "N4c",
        "N4c, within classes",
        "sizes permuted within the image and class",
        "near 0.5; below it: class, not size, carries the order",
    ),
    NullModel(
        "N5",
        "N5 one common map",
        "one common map in place of the branches",
        "exactly 0.5: pooling alone cannot move SCI",
        function="gsto_viz.stats.nulls:one_map",
    ),
)

RAW_BADGE = "raw: the size of these numbers is arbitrary"
"""Shown wherever raw maps are drawn."""

REDUCTIONS = ("mean", "gain_fixed", "absmean", "l2", "max", "none")
"""What a capture can keep of the channels, by name."""


@dataclass(frozen=True)
class Mode:
    """A way to turn a map into colours.

    Attributes:
        key: In links, files and arguments.
        label: On a control.
        axis: At the colour bar.
        colors: Matplotlib colour map.
        caption: Below a figure; ``{what}`` is what maps hold, ``{networks}`` who shares a scale.
        meaning: On a page, where there is room.
        raw: Whether the size of the numbers is arbitrary; drawings then carry ``RAW_BADGE``.
    """

    key: str
    label: str
    axis: str
    colors: str
    caption: str = ""
    meaning: str = ""
    raw: bool = False

    def said(self, what: str, networks: Sequence[str] = ()) -> str:
        """Return the caption of maps of ``what``, drawn for these networks."""
        return self.caption.format(what=what, networks=listed(networks))


MODES = _by_key(
    Mode(
        "percentile",
        "Percentile",
        "percentile of activity in this image",
        "viridis",
        "percentile of {what} among the cells of this image, one scale 0 to 1 for all maps.",
        "Each map shows the rank of every cell among the cells of this image (percentile, fixed "
        "bar 0 to 1) of the channel average, after each channel was divided by its spread over "
        "training images. Ranks can be compared between branches and between A and B; they "
        "say where a branch is active, not how strongly.",
    ),
    Mode(
        "shared",
        "Shared by A and B",
        "channel mean, A and B on one scale",
        "cividis",
        f"{{what}}, one scale for {{networks}} in each branch ({RAW_BADGE}), so brighter does not "
        "mean stronger.",
        "Raw channel averages; A and B share one scale in each branch. A network can change the "
        "size of these numbers without changing what it computes, so a brighter map is not a "
        "stronger response.",
        raw=True,
    ),
    Mode(
        "per_map",
        "Per map (paper)",
        "channel mean, each map on its own scale",
        "cividis",
        f"{{what}}, each map on its own scale ({RAW_BADGE}), so colours cannot be compared between "
        "maps.",
        "Raw channel averages, each map on its own scale, as in the paper's figures. Colours "
        "cannot be compared between maps, neither between branches nor between A and B.",
        raw=True,
    ),
    Mode(
        "zscore",
        "z-score",
        "activity, standard deviations from this image's mean",
        "RdBu_r",
        "{what}, in standard deviations from the mean over this image, one scale -3 to 3 for all "
        "maps.",
        "Activity after each channel was divided by its spread over training images, in "
        "standard deviations from its mean in this image; every bar runs from -3 to 3.",
    ),
)
"""Ways to draw branch maps; ``gsto_viz.activity.normalise`` makes them."""
GATE = Mode("gate", "Gate", "gate value", "magma")
ATTRIBUTION = Mode("attribution", "Attribution", "", "RdBu_r")
"""Diverging, on limits that are symmetric about 0."""
COLORMAPS: Mapping[str, str] = {
    row.key: row.colors for row in (*MODES.values(), GATE, ATTRIBUTION)
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """An attribution method; a row of ``METHODS`` and the function that it names are all of it.

    Attributes:
        key: In files and arguments.
        label: On a control and in sentences.
        axis: At the colour bar.
        meaning: How its colours are read; ``{methods}`` are those of the same kind, ``{score}`` is
            what is explained.
        at: ``head`` (exact, from the features that enter the head), ``taps`` or ``image``.
        function: ``MODULE:NAME``, loaded when it is first run. At taps and on the image it is
            called with an ``Explainer``, the modules of the taps by dotted name, and ``Settings``
            (``gsto_viz.attribution.gradients``), and gives a tensor (N, C, h, w) for each module,
            or one for the image. At the head it is called with a ``BranchShapley`` of one target,
            and gives a number for each branch and what these must add up to, or None.
        maps: At the head, also a function from a ``HeadPass``, a ``Baseline`` and the class of each
            cell to maps (R, h, w); empty: it has none.
        link: What it is called in links to the explorer; empty: not offered there.
        starts_at: Where its numbers add up to a change of the score, what this is measured from:
            features of ``zero``, those of the ``image`` of the mean colour or, at the head, those
            of the ``baseline``. Empty: they do not add up.
        complete: Of a path integral, what goes along the path: the features of the ``taps``, or the
            ``image``; its maps then add up to what that changes. Empty: nothing is promised.
        own_scale: Whether its unit is arbitrary, so that networks cannot share a scale.
        passes: Its cost in forward passes of the image, from the number of taps that are explained
            together and the steps of paths.
    """

    key: str
    label: str
    axis: str
    meaning: str
    at: str
    function: str
    maps: str = ""
    link: str = ""
    starts_at: str = ""
    complete: str = ""
    own_scale: bool = False
    passes: Callable[[int, int], float] = lambda taps, steps: 1 + BACK

    @property
    def title(self) -> str:
        """The label as it begins a line."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def adds_up(self) -> bool:
        """Whether cells of its maps add up: a cell four times as large holds four times as much.

        Such maps are drawn divided by the pixels of a cell.
        """
        return self.at == "taps" and bool(self.starts_at)


BACK = 0.3
"""The way back from the score to the branches, in forward passes: it crosses the head alone."""
STEP = 2.0
"""One step of a path, in forward passes: forward, back, and the bookkeeping of all its features."""
_SIGNED = "{methods}: red raises the {score}, blue lowers it."
_UNSIGNED = "{methods}: no sign; the redder, the more the {score} reacts."
_EXACT, _CAPTUM = "gsto_viz.attribution.shapley", "gsto_viz.attribution.gradients"
METHODS = _by_key(
    Method(
        "shapley",
        "Shapley (exact)",
        "Shapley value of the margin at each cell, logits",
        "Shapley maps: red raises the margin of a cell, blue lowers it; exact: at every cell "
        "they sum over the branches to its margin minus its margin with every branch at the "
        "baseline.",
        "head",
        f"{_EXACT}:branch_values",
        maps=f"{_EXACT}:shapley_maps",
        link="shapley",
        starts_at="baseline",
    ),
    Method(
        "share",
        "Shares (exact)",
        "share of the branch in the evidence at each cell, signed, whatever the class",
        "Shares: red where the branch carries evidence for the class, blue against it.",
        "head",
        f"{_EXACT}:branch_shares",
        link="shares",
    ),
    Method(
        "removal",
        "removal",
        "drop of the score without the branch, logits",
        "Removal: red where the score falls without the branch, blue where it rises.",
        "head",
        f"{_EXACT}:branch_removals",
        starts_at="baseline",
    ),
    Method(
        "activation",
        "activation",
        "sum of channels, arbitrary unit",
        "Activation: red above 0, blue below; it knows neither target nor score.",
        "taps",
        f"{_CAPTUM}:activation",
        passes=lambda taps, steps: 1.0,
    ),
    Method(
        "gradient_x_activation",
        "gradient x activation",
        "gradient x activation, logits per pixel",
        _SIGNED,
        "taps",
        f"{_CAPTUM}:gradient_x_activation",
        link="gradient",
        starts_at="zero",
    ),
    Method(
        "integrated_gradients",
        "integrated gradients",
        "integrated gradients, logits per pixel",
        _SIGNED,
        "taps",
        f"{_CAPTUM}:integrated_gradients",
        link="integrated",
        starts_at="image",
        complete="taps",
        # Three more for the convergence delta.
        passes=lambda taps, steps: STEP * steps + 3,
    ),
    Method(
        "grad_cam",
        "Grad-CAM",
        "Grad-CAM, not rectified, arbitrary unit",
        "Grad-CAM, channels weighted by their mean gradient: red speaks for a greater {score}, "
        "blue for a smaller one.",
        "taps",
        f"{_CAPTUM}:grad_cam",
        link="gradcam",
        own_scale=True,
        # Captum takes one layer at a time.
        passes=lambda taps, steps: taps * (1 + BACK),
    ),
    Method(
        "conductance",
        "conductance",
        "conductance, logits per pixel",
        _SIGNED,
        "taps",
        f"{_CAPTUM}:conductance",
        starts_at="image",
        complete="image",
        passes=lambda taps, steps: taps * STEP * (steps + 1),
    ),
    Method(
        "saliency",
        "saliency",
        "|gradient|, logits per standard deviation of the colours",
        _UNSIGNED,
        "image",
        f"{_CAPTUM}:saliency",
    ),
    Method(
        "smooth_grad",
        "SmoothGrad",
        "SmoothGrad, logits per standard deviation of the colours",
        _UNSIGNED,
        "image",
        f"{_CAPTUM}:smooth_grad",
    ),
)
"""The register of attribution methods. A new one is a function and a row here: the command line and
its help, ``explain_target``, tables, figures, checks and, with a ``link``, the explorer follow."""
DEFAULT_METHODS = ("gradient_x_activation", "grad_cam", "integrated_gradients")
"""Those beside the exact ones that run unless others are named."""
METHOD_LINKS: Mapping[str, Method] = {row.link: row for row in METHODS.values() if row.link}
"""By their names in links to the explorer."""


HEAT_MAP = "heat map"
"""The score of a target in a network for pose: what the heat map of its joint is."""


def scored(text: str, score: str) -> str:
    """Return words of a method as they are of a score: heat maps have no margins and no logits."""
    if score != HEAT_MAP:
        return text
    return text.replace("margin", HEAT_MAP).replace("logits", f"units of the {HEAT_MAP}")


def methods_at(*places: str) -> dict[str, Method]:
    """Return the methods at ``head``, ``taps`` or ``image``, by key."""
    return {row.key: row for place in places for row in METHODS.values() if row.at == place}


def find_method(key: str, *places: str) -> Method:
    """Return a method at ``head``, ``taps`` or ``image``.

    Raises:
        GstoVizError: There is none of this name there; those that exist are listed.
    """
    known = methods_at(*places)
    if key not in known:
        raise GstoVizError(f"unknown method '{key}'; choose {', '.join(known)}")
    return known[key]
