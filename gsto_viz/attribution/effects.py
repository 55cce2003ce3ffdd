"""What interventions cost: right and wrong pixels of every region, with and without each change.

The counts go into ``gsto_viz.stats.drops``: drops of recall and IoU by size octave and class, and
the branch x size matrix of the Scale Interaction Coefficient.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.attribution.interventions import Intervention, constant, intervene, replaced
from gsto_viz.attribution.paths import Path, find_path, list_paths
from gsto_viz.calibrate import channel_moments
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import predict
from gsto_viz.models.gates import gate_range
from gsto_viz.models.hrnet import HRNet
from gsto_viz.regions import RegionMap
from gsto_viz.stats.drops import UNCHANGED
from gsto_viz.stats.outcome import outcome_counts
from gsto_viz.torch_utils import eval_mode

SITES = ("after", "before")
MAX_BLUR = 13
"""Octaves: a cell as large as the largest image."""
MAX_VALUE = 1e30
"""Of a place that is fixed: float32 holds it."""


def intervention_counts(
    model: nn.Module,
    image: npt.NDArray[np.uint8],
    regions: RegionMap,
    changes: Mapping[str, Sequence[Intervention]],
    *,
    name: str,
) -> pd.DataFrame:
    """Predict one image without and with each group of interventions and count its pixels.

    Args:
        model: A network that ``evaluate`` understands.
        image: (H, W, 3) uint8 sRGB.
        regions: Of its annotation, at its size.
        changes: By name, interventions made together.
        name: Of the image.

    Returns:
        ``intervention`` (``none`` first), then the columns of region counts; one row per
        intervention and region.
    """
    if UNCHANGED in changes:
        raise GstoVizError(f"'{UNCHANGED}' is the name of the unchanged network; choose another")
    parts = []
    with eval_mode(model):
        for key, group in {UNCHANGED: (), **changes}.items():
            with intervene(model, *group) as network:
                predicted = predict(network, image)
            counts = outcome_counts(regions.ids, regions.class_id, predicted, image=name).regions
            counts.insert(0, "intervention", key)
            parts.append(counts)
    return pd.concat(parts, ignore_index=True)


def branch_paths(model: nn.Module, site: str = "after", stage: int = 4) -> list[str]:
    """Return the places of the branches of a stage, the finest first.

    Args:
        model: An HRNetV2 or GSTO-HRNet.
        site: ``after`` or ``before`` the stage's last fusion. After it, a branch is already a sum
            of all; before it, removing one also takes away what it would have given to the others.
            Stage 1 has no fusion, so nothing lies before it.
        stage: 1 to 4.
    """
    if site not in SITES:
        raise GstoVizError(f"unknown site '{site}'; choose {' or '.join(SITES)} the last fusion")
    if not isinstance(model, HRNet):
        raise GstoVizError(f"{type(model).__name__} declares no branches; name modules instead")
    if site == "after":
        return [f"stage{stage}.branch{r}" for r in range(stage)]
    if stage == 1:
        return []
    return [f"{last_module(model, stage)}.branch{r}.pre" for r in range(stage)]


def last_module(model: HRNet, stage: int) -> str:
    """Return the place of the last module of stage 2, 3 or 4, such as ``stage4.m1``."""
    modules = getattr(model, f"stage{stage}")
    return f"stage{stage}.m{len(modules) - 1}"


def mean_features(
    model: nn.Module, images: Iterable[Tensor], paths: Sequence[str]
) -> dict[str, Tensor]:
    """Return each channel's mean over all cells of some images, (1, C, 1, 1) by place.

    Args:
        model: A float32 network.
        images: Normalised, (3, H, W) or (N, 3, H, W) each.
        paths: Places, as ``find_path`` takes them.
    """
    modules = {path: find_path(model, path).module for path in paths}
    moments = channel_moments(model, images, modules)
    like = next(model.parameters())
    return {
        path: torch.from_numpy(moments[path].mean).to(like)[None, :, None, None] for path in paths
    }


def removals(
    paths: Sequence[str], means: Mapping[str, Tensor] | None = None
) -> dict[str, tuple[Intervention, ...]]:
    """Remove places one at a time: replaced by their means where given, else by zero.

    Returns:
        Groups for :func:`intervention_counts`, under the places' own names.
    """
    if means is None:
        return {path: (constant(path, 0.0, "zero"),) for path in paths}
    return {path: (replaced(path, means[path], "mean"),) for path in paths}


def edges(model: nn.Module, kind: str, place: str) -> list[Path]:
    """Return the transfers or gates of one fusion or transition, in the order of the network.

    Args:
        model: One of our networks.
        kind: ``transfer`` or ``gate``.
        place: ``stage4.m0``, ``transition3``...
    """
    found = [p for p in list_paths(model) if p.kind == kind and p.name.startswith(f"{place}.")]
    if not found:
        raise GstoVizError(
            f"{place} has no {kind}; name a module such as stage4.m0, or transition3"
        )
    return found


def parse_intervention(model: nn.Module, text: str) -> Intervention:
    """Read ``PLACE=VALUE``: ``stage3.m0.gate[2->0]=0.5``, ``stage4.branch1=zero``, ``...=blur:2``.

    VALUE is a number, ``zero``, ``open`` (1) and ``closed`` for gates (as closed as the gate's form
    allows, 0.5 for released gates), ``closed`` for transfers (0), or ``blur:OCTAVES``.

    Raises:
        GstoVizError: No such place, or no such value.
    """
    from gsto_viz.attribution.interventions import blurred

    name, equals, value = (part.strip() for part in text.rpartition("="))
    if not equals or not name or not value:
        raise GstoVizError(f"'{text}' is no intervention; write PLACE=VALUE, such as stem=zero")
    path = find_path(model, name)
    words = _words(model, path)
    if value in words:
        return constant(path.name, words[value], value)
    kind, _, octaves = value.partition(":")
    if kind == "blur" and octaves.isdecimal():
        if len(octaves) > 2 or not 1 <= int(octaves) <= MAX_BLUR:
            raise GstoVizError(f"{value} is no blur; give 1 to {MAX_BLUR} octaves")
        return blurred(path.name, int(octaves))
    try:
        number = float(value)
    except ValueError as error:
        known = ", ".join([*words, "blur:OCTAVES"])
        raise GstoVizError(
            f"'{value}' is no value for {path.name}; give a number, {known}"
        ) from error
    if not abs(number) < MAX_VALUE:
        raise GstoVizError(f"{path.name} cannot be {value}; give a number below {MAX_VALUE:g}")
    return constant(path.name, number)


def _words(model: nn.Module, path: Path) -> dict[str, float]:
    """Return the words for numbers at a place."""
    if path.kind == "gate":
        gating = getattr(getattr(model, "config", None), "gating", None)
        low = 0.0 if gating is None else gate_range(gating.form)[0]
        return {"zero": 0.0, "closed": low, "open": 1.0}
    return {"zero": 0.0, "closed": 0.0} if path.kind == "transfer" else {"zero": 0.0}
