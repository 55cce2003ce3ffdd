"""What is measured on a network while it is trained: scores, SCI on a few images, gains at last."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gsto_viz.calibrate import calibrate, channel_moments, to_gains
from gsto_viz.capture import Capture
from gsto_viz.data import PROCEDURAL, data_kind, with_objects
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.evaluate import LogitsNotFiniteError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.gains import Gains, gains_to_tensors
from gsto_viz.models import SegmentationNetwork, network_of
from gsto_viz.models.base import option_names
from gsto_viz.models.checkpoint import load_weights, read_tensors, says_itself, write_tensors
from gsto_viz.models.equalizer import equalizer_weights, estimate_equalizers, passes, sites
from gsto_viz.network import open_network
from gsto_viz.regions import region_table
from gsto_viz.stats import estimate, index_values
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Dataset, Sample

Found = TypeVar("Found")


def on_share(
    count: Callable[[Iterable[int]], Found],
    val: Dataset,
    world: World,
    *,
    stopped: Callable[[], bool],
    quiet: bool,
) -> Found | None:
    """Count what a network predicts on this process's share of the images.

    Args:
        count: Called with the indices of the images.
        val: Annotated images.
        world: The processes.
        stopped: Asked before each image: whether to give up, in any one process.
        quiet: No progress bar.

    Returns:
        What ``count`` returns; None if a process was asked to stop.

    Raises:
        LogitsNotFiniteError: In all processes, if the network gives such logits in one.
        GstoVizError: In all processes, if an image cannot be scored in one.
    """
    indices = tqdm(world.share(len(val)), desc="val", disable=quiet, leave=False)
    going = takewhile(lambda index: not stopped(), indices)
    found: Found | None = None
    error: GstoVizError | None = None
    try:
        found = count(going)
    except GstoVizError as raised:
        error = raised
    if world.any(stopped()):
        return None
    not_finite = world.any(isinstance(error, LogitsNotFiniteError))
    if not_finite:
        raise LogitsNotFiniteError(str(error or "in another process"))
    world.agree(error)
    return found


def refuse_all_skipped(skipped: Mapping[int, str], val: Dataset) -> None:
    """Refuse a score of no image.

    Raises:
        GstoVizError: None can be scored; with the reason of the first.
    """
    if len(skipped) == len(val):
        first = next(iter(skipped.values()))
        raise GstoVizError(f"none of {len(val)} images of {val.name} can be scored, first: {first}")


def add_gains(
    checkpoint: str | Path,
    data: Dataset | Iterable[npt.NDArray[np.uint8]],
    *,
    images: int = 64,
    quiet: bool = True,
) -> None:
    """Measure per-channel gains of the default taps and store them; keep those that are there.

    Args:
        checkpoint: One of our files; it is rewritten with the gains inside, all else as it is.
        data: Training images: a data set, of which the first ``images`` by id are used, at native
            size; or images (H, W, 3) uint8 sRGB.
        images: How many.
        quiet: No progress bar.

    Raises:
        GstoVizError: Not a checkpoint of ours, no images, or features that are not finite.
    """
    path = Path(checkpoint)
    if path.is_file() and not says_itself(path):
        raise GstoVizError(f"{path} is not a checkpoint of ours; save_checkpoint writes one")
    network = open_network(path)
    if network.gains:
        return
    if isinstance(data, Dataset):
        chosen = sorted(range(len(data)), key=lambda i: data.ids[i])[:images]
        pictures: Iterable[npt.NDArray[np.uint8]] = (data[i].image for i in chosen)
    else:
        pictures = islice(data, images)
    read = tqdm(pictures, desc="gains", disable=quiet, leave=False)
    tensors = (network.tensor(image) for image in read if not network.refuses(image))
    gains = calibrate(network.module, tensors, network.anatomy.branch_taps)
    held, about = read_tensors(path)
    write_tensors(path, {**held, **gains_to_tensors(gains)}, about)


def equalized_of(start: nn.Module, source: str) -> SegmentationNetwork:
    """Return a network with the weights of another and equalizers that are yet to be estimated.

    Args:
        start: The other network.
        source: Where it comes from, for messages.

    Raises:
        GstoVizError: It is not a network of the register, concatenates nothing, or has equalizers.
    """
    if not isinstance(start, SegmentationNetwork):
        raise GstoVizError(
            f"{source} is not a network of the register (gsto-viz models), so equalizers have no "
            "known place in it; give a checkpoint of one of those"
        )
    if start.config.equalized:
        raise GstoVizError(
            f"{source} is equalized already; give the checkpoint that it was made from, fold its "
            "equalizers into its weights first (--fold), or train it on, which estimates them anew"
        )
    network = None
    if "equalized" in option_names(type(start.config)):
        with suppress(GstoVizError):  # a head that concatenates nothing, which is said below
            network = network_of(start.config.with_options(equalized=True))
    if network is None or not sites(network):
        raise GstoVizError(
            f"{source} is a network ({start.architecture}) whose head concatenates no branches, so "
            "equalizers have no place in it; give a checkpoint of another of gsto-viz models"
        )
    own = network.state_dict()
    fresh = {name: own[name].clone() for name in equalizer_weights(network)}
    load_weights(network, {**start.state_dict(), **fresh}, source=source)
    network.info = start.info
    return network.eval()


def equalize(
    network: SegmentationNetwork, data: Dataset, *, world: World = ALONE, quiet: bool = True
) -> None:
    """Estimate the equalizers of a network from all images of a data set, at native size.

    Args:
        network: With equalizers, which are set.
        data: Training images; each process takes its share of them.
        world: The processes.
        quiet: No progress bar.

    Raises:
        GstoVizError: As ``estimate_equalizers``; an image that cannot be used is named.
    """
    order = sorted(range(len(data)), key=lambda i: data.ids[i])
    latest = ""

    def image(number: int) -> Tensor:
        nonlocal latest
        latest = data.ids[order[number]]
        return input_batch(network, data[order[number]].image)

    total = len(world.share(len(data))) * len(passes(network))
    with tqdm(total=total, desc="equalize", unit="image", disable=quiet, leave=False) as bar:
        try:
            estimate_equalizers(
                network, image, len(data), world=world, progress=lambda: bar.update()
            )
        except RefusedImageError as error:
            raise GstoVizError(f"{latest}: {error}") from error


RENDERED, FRAMES = 24, 16
"""So many images, the first of the validation data, are looked at each time."""

INDICES = ("sci", "c_fine", "c_coarse")


def scale_confusion(
    network: SegmentationNetwork, val: Dataset, *, stopped: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Estimate SCI, c_fine and c_coarse as ``analyze`` does with the same images and no others.

    Branches are those that ``analyze`` compares, and their gains are measured on these images. The
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
    val = with_objects(val)
    takes = open_network(network)
    for index in chosen(val):
        if stopped():
            return None
        sample = _annotated(val[index])
        if not takes.refuses(sample.image):
            samples.append(sample)
    images = (input_batch(network, sample.image) for sample in samples)
    moments = channel_moments(network, images, network.anatomy().branch_taps)
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
    """Return which images are looked at: the first 24 rendered images, or 16 of other data."""
    return range(min(len(val), RENDERED if data_kind(val.name) in PROCEDURAL else FRAMES))


def check_confusion(network: nn.Module, val: Dataset | None) -> None:
    """Refuse a network or data that have no SCI; all images that it would be measured on are read.

    Raises:
        GstoVizError: There are no validation images, one has no labels, the network takes none of
            them, or it has no branches to compare.
    """
    if val is None:
        raise GstoVizError(
            "sci_every measures SCI on validation images and there are none; give --val SPEC, or "
            "--set sci_every=0"
        )
    takes = open_network(network)
    takes.check_branches()
    refused = [takes.refuses(_annotated(val[index]).image) for index in chosen(val)]
    if refused and all(refused):
        raise GstoVizError(
            f"none of the first {len(refused)} validation images can be looked at: {refused[0]}; "
            "give others with --val SPEC, or --set sci_every=0"
        )


def _annotated(sample: Sample) -> Sample:
    if sample.labels is None:
        raise GstoVizError(
            f"sci_every needs annotated validation images and {sample.id} has no labels; give "
            "others with --val SPEC, or --set sci_every=0"
        )
    return sample


@torch.no_grad()
def _regions(network: SegmentationNetwork, sample: Sample, gains: dict[str, Gains]) -> pd.DataFrame:
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
