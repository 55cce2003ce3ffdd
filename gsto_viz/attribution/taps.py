"""Captum's maps at any taps and on the image, and how well they foretell interventions.

A tap inside the network is explained alone: where several lie one behind the other, what one of
them does would otherwise be cut off by the next. Taps that enter the head lie side by side and are
explained together (``explain``).

Infidelity (Yeh et al. 2019) with removals of cells as perturbations, on the scale of
``coalition_infidelity``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.attribution.gradients import (
    INPUT_METHODS,
    LAYER_METHODS,
    PROBE_SIDE,
    Attribution,
    Explainer,
)
from gsto_viz.attribution.interventions import Intervention, captured, frozen_twin, intervene
from gsto_viz.attribution.targets import head_logits
from gsto_viz.capture.names import resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.types import FloatArray, Tap

Infidelity = Callable[[str, str, FloatArray], float | None]
"""From method, tap and (h, w) map to how wrong it is; None where that has no meaning."""
BEGINS_AT_ZERO = ("gradient_x_activation",)
BEGINS_AT_IMAGE = ("integrated_gradients", "conductance")
"""Methods whose cells add up to a change of the score, by what they measure it from: features of
zero, or those of the image of the mean colour."""
SAMPLES = 16
"""Rectangles of cells, beside the whole tap."""


def cell_rectangles(
    grid: tuple[int, int], count: int, rng: np.random.Generator
) -> list[npt.NDArray[np.bool_]]:
    """Return the whole grid, then ``count`` random rectangles of its cells, (h, w) each.

    Args:
        grid: (h, w).
        count: Rectangles; each side goes from one random cell to another, both included.
        rng: Draws them.
    """
    masks = [np.ones(grid, dtype=bool)]
    for _ in range(count):
        mask = np.zeros(grid, dtype=bool)
        rows, columns = (np.sort(rng.integers(0, n, 2)) for n in grid)
        mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
        masks.append(mask)
    return masks


def removal_infidelity(
    explainer: Explainer, *, samples: int = SAMPLES, seed: int = 0
) -> Infidelity:
    r"""Prepare to say how badly maps at taps predict what removing cells of the tap does.

    .. math:: \sum_M [ \sum_{p \in M} a_p - (v - v_M) ]^2 / \sum_M [ v - v_M ]^2

    over the whole tap and ``samples`` random rectangles M of its cells; a_p is the map, v the score
    and v_M the score with the features in M as the method's path begins: 0, or those of the image
    of the mean colour.

    Args:
        explainer: One image and its target.
        samples: Rectangles.
        seed: Of the rectangles: the same for all maps of one grid.

    Returns:
        From method, tap and (h, w) map to 0: additive and right; 1: as bad as saying 0; NaN when
        removing changes nothing; None when the method's sums are no change of the score.
    """
    drops: dict[tuple[str, bool], FloatArray] = {}

    def infidelity(method: str, tap: str, values: FloatArray) -> float | None:
        if method not in (*BEGINS_AT_ZERO, *BEGINS_AT_IMAGE):
            return None
        grid = (values.shape[0], values.shape[1])
        masks = cell_rectangles(grid, samples, np.random.default_rng(seed))
        key = (tap, method in BEGINS_AT_ZERO)
        if key not in drops:
            drops[key] = _drops(explainer, tap, masks, zero=key[1])
        foretold = np.array([values[mask].sum() for mask in masks])
        scale = float((drops[key] ** 2).sum())
        return float(((foretold - drops[key]) ** 2).sum()) / scale if scale else float("nan")

    return infidelity


@torch.no_grad()
def _drops(
    explainer: Explainer, tap: str, masks: list[npt.NDArray[np.bool_]], *, zero: bool
) -> FloatArray:
    """Return what the score loses for each mask, (M,)."""
    (place,) = resolve(explainer.model, tap)
    begin = None
    if not zero:
        start = torch.zeros_like(explainer.image)
        begin = captured(explainer.model, start, [place.module])[place.module]
    before = explainer.scores()[0]
    after = []
    for mask in masks:
        change = partial(_removed, torch.from_numpy(mask), begin)
        with intervene(explainer.model, Intervention(place.module, change, "removed")):
            after.append(explainer.scores()[0])
    return np.asarray(before - np.array(after))


def _removed(mask: Tensor, begin: Tensor | None, output: Tensor) -> Tensor:
    """Return the output with other features, or 0, in some cells."""
    other = torch.zeros_like(output) if begin is None else begin.to(output)
    return torch.where(mask.to(output.device), other, output)


COLUMNS = ("method", "tap", "stride", "total", "delta", "infidelity")


@dataclass(frozen=True)
class Run:
    """One method at taps that it is run at together.

    Attributes:
        method: One of ``LAYER_METHODS`` or ``INPUT_METHODS``.
        taps: Names; empty for methods on the image.
        options: Of ``Explainer.layer`` or ``Explainer.input``.
    """

    method: str
    taps: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def on(self, explainer: Explainer) -> Attribution:
        """Run it."""
        if self.method in INPUT_METHODS:
            return explainer.input(self.method, **self.options)
        return explainer.layer(self.method, self.taps, **self.options)


@dataclass(frozen=True, eq=False)
class TapMaps:
    """Maps of one target beside those of the taps that enter the head.

    Attributes:
        maps: ``{method}/{tap}``, or ``{method}/input``; float32, summed over channels.
        strides: Pixels per cell of each map.
        table: One row per map: ``method``, ``tap``, ``stride``, ``total`` (sum of the map),
            ``delta`` (integrated gradients: total minus the change of the score when this tap goes
            to the baseline; null for others, and for taps of the head, which go there together) and
            ``infidelity`` (see ``removal_infidelity``; null where a map's sum is no change of the
            score).
    """

    maps: dict[str, npt.NDArray[np.float32]]
    strides: dict[str, int]
    table: pd.DataFrame


def split_methods(methods: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the methods for taps and those for the image, each once.

    Raises:
        GstoVizError: One is neither.
    """
    known = (*LAYER_METHODS, *INPUT_METHODS)
    for method in methods:
        if method not in known:
            raise GstoVizError(f"unknown method '{method}'; choose {', '.join(known)}")
    once = dict.fromkeys(methods)
    layer = tuple(m for m in once if m in LAYER_METHODS)
    return layer, tuple(m for m in once if m in INPUT_METHODS)


def find_taps(
    model: nn.Module, image: Tensor, taps: Sequence[str], *, head: str = "main"
) -> dict[str, int]:
    """Look for taps, and whether a head's logits depend on each, with one small backward pass.

    Args:
        model: Any network whose output ``head_logits`` understands.
        image: (N, 3, H, W) of the kind that it takes; only type and device matter.
        taps: Names or patterns, as ``Capture`` takes them.
        head: The head that is explained.

    Returns:
        Pixels per cell of each tap, by name.

    Raises:
        GstoVizError: A tap is not there, is no (N, C, h, w) tensor, is called twice or never, or
            does not lead to the head.
    """
    twin = frozen_twin(model)
    places = resolve(twin, taps)
    given: dict[str, list[Any]] = {place.name: [] for place in places}
    for place in places:
        if place.path:
            raise GstoVizError(
                f"'{place.name}' is one part of what a module gives; name a module that gives one "
                "tensor"
            )

        def keep(
            module: nn.Module, inputs: Any, output: Any, name: str = place.name
        ) -> Tensor | None:
            given[name].append(output)
            # What follows may change the output in place: it gets a copy.
            return output.clone() if isinstance(output, Tensor) else None

        twin.get_submodule(place.module).register_forward_hook(keep)
    probe = torch.zeros(1, 3, PROBE_SIDE, PROBE_SIDE, dtype=image.dtype, device=image.device)
    with torch.enable_grad():
        logits = head_logits(twin(probe.requires_grad_()), head)
        for place in places:
            _check_output(place, given[place.name])
        outputs = [given[place.name][0] for place in places]
        gradients = torch.autograd.grad(logits.sum(), outputs, allow_unused=True)
    for place, gradient in zip(places, gradients, strict=True):
        if gradient is None:
            raise GstoVizError(
                f"the logits of head {head} do not depend on {place.name}, which lies behind or "
                "beside their way; name taps before the head"
            )
    return {
        place.name: place.stride or PROBE_SIDE // output.shape[-2]
        for place, output in zip(places, outputs, strict=True)
    }


def _check_output(place: Tap, outputs: Sequence[Any]) -> None:
    """Refuse what Captum could not read, or would read once of several times."""
    if len(outputs) != 1:
        raise GstoVizError(
            f"{place.name} is called {len(outputs)} times in a forward pass; name a place that is "
            "called once"
        )
    if not isinstance(outputs[0], Tensor) or outputs[0].ndim != 4:
        what = type(outputs[0]).__name__
        if isinstance(outputs[0], Tensor):
            what = f"tensor of shape {tuple(outputs[0].shape)}"
        raise GstoVizError(
            f"{place.name} gives a {what} and no map (N, C, h, w); name a place inside or after it"
        )


def tap_runs(
    layer: Sequence[str],
    on_image: Sequence[str],
    taps: Sequence[str],
    options: Mapping[str, Any],
    seed: int,
) -> tuple[Run, ...]:
    """List what is run beside the taps of the head: each method at each tap alone, image last."""
    inside = [Run(method, (tap,), options) for method in layer for tap in taps]
    return (*inside, *(Run(method, (), _input_options(method, seed)) for method in on_image))


def _input_options(method: str, seed: int) -> dict[str, Any]:
    return {"seed": seed} if method == "smooth_grad" else {}


def run_maps(explainer: Explainer, runs: Sequence[Run]) -> dict[str, FloatArray]:
    """Return the maps of the explainer's first image by name."""
    return {
        f"{run.method}/{tap}": one[0] for run in runs for tap, one in run.on(explainer).maps.items()
    }


def explain_taps(
    explainer: Explainer,
    runs: Sequence[Run],
    strides: Mapping[str, int],
    infidelity: Infidelity,
    ready: Sequence[Attribution] = (),
) -> TapMaps:
    """Run methods at taps and on the image.

    Args:
        explainer: One image and its target.
        runs: From ``tap_runs``, without the taps that are ``ready``.
        strides: From ``find_taps``: of all taps asked for.
        infidelity: From ``removal_infidelity``.
        ready: What is known of taps that enter the head, explained together; those of ``strides``
            are taken, without their common delta.
    """
    found: dict[tuple[str, str], tuple[FloatArray, float | None]] = {}
    for attribution in ready:
        for tap, one in attribution.maps.items():
            if tap in strides:
                found[attribution.method, tap] = one[0], None
    for run in runs:
        given = run.on(explainer)
        delta = None if given.delta is None else float(given.delta[0])
        for tap, one in given.maps.items():
            found[run.method, tap] = one[0], delta
    methods = list(dict.fromkeys(run.method for run in runs)) + [a.method for a in ready]
    order = {method: k for k, method in enumerate(dict.fromkeys(methods))}
    asked = {tap: k for k, tap in enumerate(strides)}
    rows, maps = [], {}
    for method, tap in sorted(found, key=lambda key: (order[key[0]], asked.get(key[1], 0))):
        one, delta = found[method, tap]
        wrong = infidelity(method, tap, one)
        rows.append((method, tap, strides.get(tap, 1), float(one.sum()), delta, wrong))
        maps[f"{method}/{tap}"] = one.astype(np.float32)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return TapMaps(
        maps,
        dict(zip(maps, table["stride"].tolist(), strict=True)),
        table.astype({"delta": "float64", "infidelity": "float64"}),
    )
