"""Maps of one image, as arrays and as a file.

The file is an ``.npz``: one array per tap under its safe name (``stage3.m0.gate.2to0``), and under
``metadata`` a JSON text that says what the numbers are and where they come from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gsto_viz.anatomy import canonical_name, safe_name
from gsto_viz.capture.core import Capture
from gsto_viz.capture.maps import Reduce
from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, eval_mode, image_to_tensor, unwrap
from gsto_viz.types import Tap
from gsto_viz.words import RAW_BADGE

METADATA = "metadata"
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class ImageMaps:
    """Maps of one image.

    Attributes:
        maps: By canonical tap name: (h, w), or (C, h, w) for logits and unreduced features.
        about: What the numbers are, ready for JSON: reduction, normalisation, input size, and for
            each tap its module, kind, stride, channels and badge.
    """

    maps: Mapping[str, npt.NDArray[Any]]
    about: Mapping[str, Any]

    def __getitem__(self, tap: str) -> npt.NDArray[Any]:
        """Return the map of a tap, named in either spelling."""
        return self.maps[tap] if tap in self.maps else self.maps[canonical_name(tap)]


def capture_image(
    model: nn.Module,
    image: npt.NDArray[np.uint8],
    taps: str | Sequence[str] | Mapping[str, str] = "stage4.branch*",
    *,
    reduce: Reduce = "mean",
) -> ImageMaps:
    """Run one image through a network in evaluation mode and return the maps of its taps.

    The network's training flags are restored. Images are normalised as its checkpoint says, or
    with ImageNet's values when it says nothing.

    Args:
        model: Any network that takes (N, 3, H, W).
        image: (H, W, 3) uint8 sRGB.
        taps: As ``Capture`` takes them.
        reduce: A named reduction or a function, as ``Capture`` takes them.

    Raises:
        GstoVizError: As ``Capture``.
    """
    network, _ = unwrap(model)
    info = getattr(network, "info", None)
    mean = tuple(getattr(info, "mean", IMAGENET_MEAN))
    std = tuple(getattr(info, "std", IMAGENET_STD))
    like = next(network.parameters(), torch.empty(0))
    # Torch warns about arrays that it could write to by mistake; those are copied.
    batch = image_to_tensor(np.require(image, requirements=["W"]), mean, std)[None].to(like)
    with eval_mode(network), torch.no_grad(), Capture(network, taps, reduce=reduce) as maps:
        network(batch)
    arrays = {name: _array(maps[name]) for name in maps}
    about = {
        "reduce": reduce if isinstance(reduce, str) else getattr(reduce, "__name__", "a function"),
        "normalisation": {"mean": list(mean), "std": list(std), "channel_order": "RGB"},
        "input_size": list(image.shape[:2]),
        "taps": {name: _describe(maps.taps[name], arrays[name], reduce) for name in arrays},
    }
    return ImageMaps(arrays, about)


def _array(value: torch.Tensor) -> npt.NDArray[Any]:
    """Return the one image of a batch as an array; bfloat16, which NumPy lacks, becomes float32."""
    value = value[0].cpu()
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def _describe(place: Tap, array: npt.NDArray[Any], reduce: Reduce) -> dict[str, Any]:
    """Return what the file says about one tap."""
    raw = place.kind == "feature" and reduce != "gain_fixed"
    return {
        "module": "#".join((place.module, *place.path)),
        "kind": place.kind,
        "stride": place.stride,
        "channels": place.channels,
        "shape": list(array.shape),
        "badge": RAW_BADGE if raw else None,
    }


def save_maps(path: str | Path, result: ImageMaps, about: Mapping[str, Any]) -> None:
    """Write maps as an ``.npz``, whole or not at all.

    Args:
        path: Ends in ``.npz``.
        result: The maps.
        about: More entries for the metadata, such as checkpoint, image and versions.

    Raises:
        GstoVizError: Another suffix, or the system refused the write.
    """
    if Path(path).suffix != ".npz":
        raise GstoVizError(f"maps are written as .npz and the file is called {path}; rename it")
    metadata = {"schema_version": SCHEMA_VERSION, **result.about, **about}
    text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    entries: dict[str, Any] = {safe_name(name): array for name, array in result.maps.items()}
    entries[METADATA] = np.array(text)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **entries)
