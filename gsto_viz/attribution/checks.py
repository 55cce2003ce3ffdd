"""Sanity checks of every map of one explained target, in one table."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.attribution.baselines import zero_baseline
from gsto_viz.attribution.fidelity import Infidelity
from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.head import HeadPass, head_pass
from gsto_viz.attribution.sanity import cascade, gradient_infidelity, sensitivities, sensitivity
from gsto_viz.attribution.shapley import shapley_maps
from gsto_viz.attribution.taps import FloatArray, Run, run_maps
from gsto_viz.attribution.targets import Entries

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
