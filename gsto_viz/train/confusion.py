"""The Scale Confusion Index of a network while it is trained, on a few validation images."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn

from gsto_viz.calibrate import channel_moments, to_gains
from gsto_viz.capture import Capture
from gsto_viz.data import data_kind
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.gains import Gains
from gsto_viz.models.hrnet import HRNet
from gsto_viz.regions import region_table
from gsto_viz.stats import estimate, index_values
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Dataset, Sample

SCENES, FRAMES = 24, 16
"""So many images, the first of the validation data, are looked at each time."""

INDICES = ("sci", "c_fine", "c_coarse")


def scale_confusion(
    network: HRNet, val: Dataset, *, stopped: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Estimate SCI, c_fine and c_coarse as ``analyze`` does with the same images and no others.

    Branches are those after the last fusion, and their gains are measured on these images. The
    network's flags and torch's generator stay as they are.

    Args:
        network: With float32 weights.
        val: Annotated images; the first few are taken (see ``chosen``).
        stopped: Asked now and then: whether to give up.

    Returns:
        A record for the log: ``sci``, ``c_fine``, ``c_coarse`` (each in [0, 1], or None where it is
        not estimated), ``images`` and ``pairs`` behind the first, and ``reasons`` by name where
        there is a None. None if it was asked to stop.

    Raises:
        GstoVizError: An image cannot be read or looked at, or features are not finite.
    """
    samples = []
    for index in chosen(val):
        if stopped():
            return None
        samples.append(_annotated(val[index]))
    moments = channel_moments(network, (input_batch(network, s.image) for s in samples))
    try:
        gains = to_gains(moments)
    except GstoVizError as error:
        return {**dict.fromkeys(INDICES), "images": 0, "pairs": 0} | {
            "reasons": dict.fromkeys(INDICES, str(error))
        }
    tables = []
    for sample in samples:
        if stopped():
            return None
        tables.append(_regions(network, sample, gains))
    values = index_values(tables)
    found = {name: estimate(values[name]) for name in INDICES}
    reasons = {name: one.reason for name, one in found.items() if one.value is None}
    record: dict[str, Any] = {name: one.value for name, one in found.items()}
    record |= {"images": found["sci"].n_images, "pairs": found["sci"].n_pairs}
    return record | ({"reasons": reasons} if reasons else {})


def chosen(val: Dataset) -> range:
    """Return which images are looked at: the first 24 scenes, or 16 images of other data."""
    return range(min(len(val), SCENES if data_kind(val.name) == "scenes" else FRAMES))


def check_confusion(network: nn.Module, val: Dataset | None) -> None:
    """Refuse a network or data that have no SCI; all images that it would be measured on are read.

    Raises:
        GstoVizError: There are no validation images, one has no labels, or the network has no
            branches to compare.
    """
    if val is None:
        raise GstoVizError(
            "sci_every measures SCI on validation images and there are none; give --val SPEC, or "
            "--set sci_every=0"
        )
    Capture(network)  # finds the branches
    for index in chosen(val):
        _annotated(val[index])


def _annotated(sample: Sample) -> Sample:
    if sample.labels is None:
        raise GstoVizError(
            f"sci_every needs annotated validation images and {sample.id} has no labels; give "
            "others with --val SPEC, or --set sci_every=0"
        )
    return sample


@torch.no_grad()
def _regions(network: HRNet, sample: Sample, gains: dict[str, Gains]) -> pd.DataFrame:
    """Return the region table of one image."""
    with (
        eval_mode(network),
        Capture(network, list(gains), reduce="gain_fixed", gains=gains) as maps,
    ):
        network(input_batch(network, sample.image))
    strides = [place.stride or 0 for place in maps.taps.values()]
    activity = [one[0].cpu().numpy() for one in maps.values()]
    assert sample.labels is not None
    return region_table(sample.labels, activity, strides, sample.instances, image=sample.id)
