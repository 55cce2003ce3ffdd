"""Is a map about the network at all? Randomisation, infidelity, sensitivity, in one table.

A map that stays the same when weights become random shows edges of the image, not what the network
learnt (Adebayo et al. 2018). Parts are drawn anew from the output backwards, one after the other;
batch norms of a drawn part are reset, and nothing else is touched.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from captum.metrics import infidelity, sensitivity_max
from scipy.stats import spearmanr
from torch import Tensor, nn

from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.head import HeadPass, head_pass, zero_baseline
from gsto_viz.attribution.interventions import frozen_twin
from gsto_viz.attribution.shapley import shapley_maps
from gsto_viz.attribution.taps import Infidelity, Run, run_maps
from gsto_viz.attribution.targets import Entries
from gsto_viz.errors import GstoVizError
from gsto_viz.models import initialize
from gsto_viz.types import FloatArray

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
        [-1, 1], over the cells where one of both is not 0: where a target lies is no merit of the
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


SENSITIVITY = "sensitivity (max)"
REMOVAL = "infidelity, cells removed"


def asked_classes(seen: HeadPass, entries: Entries) -> npt.NDArray[np.int64]:
    """Return the class that the margin of each cell is explained for, (h, w).

    The target's own class where it asks about one; where it asks about several, each cell's
    predicted class, and inside the target the class with the most weight in the cell.
    """
    asked = np.unique(entries.class_id)
    if asked.size == 1:
        return np.full(entries.grid, asked[0], dtype=np.int64)
    classes = seen.logits[0].argmax(dim=0).cpu().numpy().astype(np.int64).ravel()
    order = np.argsort(entries.weight, kind="stable")
    classes[entries.cell[order]] = entries.class_id[order]
    return classes.reshape(entries.grid)


def sanity_checks(
    model: nn.Module,
    image: Tensor,
    entries: Entries,
    head: str,
    runs: Sequence[Run],
    maps: Mapping[str, npt.NDArray[np.floating]],
    infidelity: Infidelity,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Run every check on the Shapley maps (baseline zero) and on the maps of methods.

    Args:
        model: The network.
        image: (1, 3, H, W), normalised.
        entries: One target.
        head: The head that it reads.
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
    classes = asked_classes(head_pass(model, image, head), entries)

    def shapley(network: nn.Module, pixels: Tensor) -> npt.NDArray[np.float64]:
        seen = head_pass(network, pixels, head)
        return shapley_maps(seen, zero_baseline(network, head), classes)

    def explain(network: nn.Module, pixels: Tensor) -> dict[str, FloatArray]:
        maps = {f"shapley/branch{r}": m for r, m in enumerate(shapley(network, pixels))}
        return maps | run_maps(Explainer(network, pixels, [entries], head=head), runs)

    drawn = cascade(model, lambda network: explain(network, image), seed=seed)
    rows = pd.DataFrame(
        {
            "check": "rank correlation, random from " + drawn["part"] + " on",
            "subject": drawn["map"],
            "value": drawn["spearman"],
            "cells": drawn["cells"].astype("Int64"),
        }
    )
    explainer = Explainer(model, image, [entries], head=head)
    moved = sensitivity(lambda x: torch.from_numpy(shapley(model, x))[None], image, seed=seed)
    rest = [
        (SENSITIVITY, "shapley", float(moved[0])),
        (
            "infidelity",
            "gradient of the image",
            float(gradient_infidelity(explainer, seed=seed)[0]),
        ),
    ]
    found = sensitivities(lambda pixels: explain(model, pixels), image, seed=seed)
    rest += [(SENSITIVITY, name, value) for name, value in found.items()]
    for name, values in maps.items():
        method, tap = name.split("/", 1)
        wrong = infidelity(method, tap, values.astype(np.float64))
        if wrong is not None:
            rest.append((REMOVAL, name, wrong))
    others = pd.DataFrame(rest, columns=rows.columns[:3]).assign(
        cells=pd.array([None] * len(rest), dtype="Int64")
    )
    return pd.concat([rows, others], ignore_index=True)
