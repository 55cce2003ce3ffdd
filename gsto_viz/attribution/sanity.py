"""Is a map about the network at all? Randomisation, infidelity, sensitivity, in one table.

A map that stays the same when weights become random shows edges of the image, not what the network
learnt (Adebayo et al. 2018). Parts are drawn anew from the output backwards, one after the other;
batch norms of a drawn part are reset, and nothing else is touched.

Infidelity (Yeh et al. 2019) has removals as perturbations: of cells of taps, and of branches on the
same scale.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from captum.metrics import infidelity, sensitivity_max
from scipy.stats import spearmanr
from torch import Tensor, nn

from gsto_viz.attribution.gradients import Explainer, Run
from gsto_viz.attribution.head import head_pass, zero_baseline
from gsto_viz.attribution.interventions import Intervention, captured, frozen_twin, intervene
from gsto_viz.attribution.shapley import asked_classes
from gsto_viz.capture.names import resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.models import initialize
from gsto_viz.types import FloatArray
from gsto_viz.words import find_method, load_function, methods_at

Maps = Mapping[str, npt.NDArray[np.floating]]


def cascade(
    model: nn.Module,
    explain: Callable[[nn.Module], Maps],
    *,
    parts: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw the parts of a network anew, from the output on, and compare its maps each time.

    Args:
        model: It stays as it is.
        explain: From a network to its maps by name.
        parts: Dotted names of submodules, in the order in which they become random; None: those
            that the network is made of, the last one first.
        seed: Of the weights; torch's random state stays as it is.

    Returns:
        One row per part and map: ``part`` (this one and all before it are random), ``map``,
        ``spearman`` with the map of the trained network, and ``spearman_abs`` of the magnitudes, in
        [-1, 1], over the cells where one of both is not 0: where a target lies says nothing for the
        map. Null for constant maps. Near 0 is what a map of the network must give. ``cells`` is how
        many cells these are: of n cells without any relation, rank correlations spread by
        1 / sqrt(n - 1) around 0.
    """
    before = {name: np.asarray(m, dtype=np.float64) for name, m in explain(model).items()}
    drawn = copy.deepcopy(frozen_twin(model))
    rows = []
    for step, part in enumerate(parts or _parts(drawn)):
        with torch.random.fork_rng():
            torch.manual_seed(1000 * seed + step)
            initialize(drawn.get_submodule(part), "kaiming")
        for name, after in explain(drawn).items():
            one, two = before[name].ravel(), np.asarray(after, dtype=np.float64).ravel()
            row = {"part": part, "map": name, "spearman": _spearman(one, two)}
            row |= {"spearman_abs": _spearman(np.abs(one), np.abs(two))}
            rows.append(row | {"cells": int(np.count_nonzero((one != 0) | (two != 0)))})
    return pd.DataFrame(rows, columns=["part", "map", "spearman", "spearman_abs", "cells"])


def _parts(model: nn.Module) -> list[str]:
    """Return the parts of a network from the output to the input."""
    return [name for name, _ in model.named_children()][::-1]


def _spearman(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> float:
    some = (one != 0) | (two != 0)
    one, two = one[some], two[some]
    if one.size < 2 or one.min() == one.max() or two.min() == two.max():
        return float("nan")
    return float(spearmanr(one, two).statistic)


def coalition_infidelity(
    values: npt.NDArray[np.floating], totals: npt.NDArray[np.floating]
) -> float:
    r"""Return how badly branch totals predict what removing branches does.

    .. math:: \sum_S [ \sum_{r \in S} a_r - (v(N) - v(N \setminus S)) ]^2
              / \sum_S [ v(N) - v(N \setminus S) ]^2

    over all 2^R - 1 sets of removed branches: infidelity with removals as perturbations, exact.

    Args:
        values: (2^R,): the score of every coalition, as ``exact_shapley`` takes them.
        totals: (R,): what a method says that each branch adds to the score.

    Returns:
        0: additive and right; 1: as bad as saying 0. NaN when removing changes nothing.
    """
    values, totals = np.asarray(values, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if values.shape != (1 << totals.size,):
        raise GstoVizError(f"{values.size} coalitions do not fit {totals.size} branches")
    full = values.size - 1
    removed = np.arange(1, full + 1)
    bits = removed[:, None] >> np.arange(totals.size) & 1
    drops = values[full] - values[full ^ removed]
    scale = float((drops**2).sum())
    return float(((bits @ totals - drops) ** 2).sum()) / scale if scale else float("nan")


def gradient_infidelity(
    explainer: Explainer, *, noise: float = 0.1, samples: int = 8, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return Captum's infidelity of the gradient with respect to the image, (N,).

    Args:
        explainer: The network and its targets.
        noise: Standard deviation of the noise, in standard deviations of the image.
        samples: Noisy copies.
        seed: Of the noise.

    Returns:
        Mean squared difference between what the gradient predicts for the noise and what the score
        does, after the best common factor, in squared logits.
    """
    image = explainer.image.clone().requires_grad_()
    index = torch.arange(image.shape[0], device=image.device)
    gradient = torch.autograd.grad(explainer.score(image, index).sum(), image)[0]
    spread = noise * float(explainer.image.std())

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.randn_like(inputs) * spread
        return drawn, inputs - drawn

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        found = infidelity(
            explainer.score,
            perturb,
            explainer.image,
            gradient,
            additional_forward_args=(index,),
            n_perturb_samples=samples,
            max_examples_per_batch=image.shape[0],
            normalize=True,
        )
    return found.double().cpu().numpy()


def sensitivity(
    explain: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 4,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Return the largest relative change of a map under small changes of the image, (N,).

    Args:
        explain: From images (N, 3, H, W) to maps (N, ...).
        image: (N, 3, H, W), normalised.
        radius: Largest change of a value.
        samples: Random changes.
        seed: Of the changes.

    Returns:
        max ||map(image + change) - map(image)|| / ||map(image)||: 0 never moves.
    """

    def explain_first(inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (explain(inputs[0]),)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = sensitivity_max(
            explain_first,
            image,
            perturb_radius=radius,
            n_perturb_samples=samples,
            max_examples_per_batch=image.shape[0],
        )
    return found.double().cpu().numpy()


def sensitivities(
    explain: Callable[[Tensor], Maps],
    image: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 4,
    seed: int = 0,
) -> dict[str, float]:
    """Return :func:`sensitivity` of each of several maps that are made together, by name.

    Args:
        explain: From an image to its maps by name.
        image: (1, 3, H, W), normalised.
        radius: Largest change of a value.
        samples: Random changes, the same for all maps.
        seed: Of the changes; torch's random state stays as it is.

    Returns:
        NaN for a map that is 0 everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    before = {name: np.asarray(m, dtype=np.float64) for name, m in explain(image).items()}
    largest = dict.fromkeys(before, 0.0)
    for _ in range(samples):
        drawn = torch.rand(image.shape, generator=generator, dtype=torch.float64)
        moved = explain(image + (radius * (2 * drawn - 1)).to(image))
        for name, one in before.items():
            change = float(np.linalg.norm(moved[name] - one))
            size = float(np.linalg.norm(one))
            largest[name] = max(largest[name], change / size) if size else float("nan")
    return largest


Infidelity = Callable[[str, str, FloatArray], float | None]
"""From method, tap and (h, w) map to how wrong it is; None where that has no meaning."""
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
        samples: Rectangles.
        seed: Of the rectangles: the same for all maps of one grid.

    Returns:
        From method, tap and (h, w) map to 0: additive and right; 1: as bad as saying 0; NaN when
        removing changes nothing; None when the method's sums are not a change of the score.
    """
    drops: dict[tuple[str, bool], FloatArray] = {}

    def infidelity(method: str, tap: str, values: FloatArray) -> float | None:
        row = find_method(method, "taps", "image")
        if not row.starts_at:
            return None
        grid = (values.shape[0], values.shape[1])
        masks = cell_rectangles(grid, samples, np.random.default_rng(seed))
        key = (tap, row.starts_at == "zero")
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


SENSITIVITY = "sensitivity (max)"
REMOVAL = "infidelity, cells removed"


def sanity_checks(
    explainer: Explainer,
    runs: Sequence[Run],
    maps: Mapping[str, npt.NDArray[np.floating]],
    infidelity: Infidelity,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Run every check on the exact maps (baseline zero) and on the maps of methods.

    Args:
        runs: Methods and where they are run.
        maps: What they gave, ``{method}/{tap}``.
        infidelity: From ``removal_infidelity``.
        seed: Of everything that is random.

    Returns:
        ``check``, ``subject``, ``value``, ``cells`` (how many a rank correlation is over; null for
        other checks). For each map: its rank correlation with the map of the
        network with random weights from each part on (``cascade``), how far small changes of the
        image move it (``sensitivities``) and, where its sum is a change of the score, how badly it
        foretells removals. Subjects are ``shapley/branch{r}`` and ``{method}/{tap}``; ``shapley``
        is all branches together, ``gradient of the image`` Captum's infidelity in squared logits.
    """
    model, image, head = explainer.network, explainer.image, explainer.head
    classes = asked_classes(head_pass(model, image, head), explainer.targets[0])
    exact = {row.key: row.maps for row in methods_at("head").values() if row.maps}

    def of_branches(method: str, network: nn.Module, pixels: Tensor) -> FloatArray:
        seen, absent = head_pass(network, pixels, head), zero_baseline(network, head)
        found: FloatArray = load_function(exact[method])(seen, absent, classes)
        return found

    def explain(network: nn.Module, pixels: Tensor) -> dict[str, FloatArray]:
        found = {
            f"{method}/branch{r}": one
            for method in exact
            for r, one in enumerate(of_branches(method, network, pixels))
        }
        again = Explainer(network, pixels, explainer.targets, head=head)
        for given in (run(again) for run in runs):
            found |= {f"{given.method}/{tap}": one[0] for tap, one in given.maps.items()}
        return found

    drawn = cascade(model, lambda network: explain(network, image), seed=seed)
    rows = pd.DataFrame(
        {
            "check": "rank correlation, random from " + drawn["part"] + " on",
            "subject": drawn["map"],
            "value": drawn["spearman"],
            "cells": drawn["cells"].astype("Int64"),
        }
    )
    rest = []
    for method in exact:

        def together(pixels: Tensor, method: str = method) -> Tensor:
            return torch.from_numpy(of_branches(method, model, pixels))[None]

        rest.append((SENSITIVITY, method, float(sensitivity(together, image, seed=seed)[0])))
    wrong = gradient_infidelity(explainer, seed=seed)
    rest.append(("infidelity", "gradient of the image", float(wrong[0])))
    found = sensitivities(lambda pixels: explain(model, pixels), image, seed=seed)
    rest += [(SENSITIVITY, name, value) for name, value in found.items()]
    for name, values in maps.items():
        method, tap = name.split("/", 1)
        error = infidelity(method, tap, values.astype(np.float64))
        if error is not None:
            rest.append((REMOVAL, name, error))
    others = pd.DataFrame(rest, columns=rows.columns[:3]).assign(
        cells=pd.array([None] * len(rest), dtype="Int64")
    )
    return pd.concat([rows, others], ignore_index=True)
