"""``Look``: what one network shows for one image, and the one format that it is kept in.

A file holds arrays and one JSON text under ``about``, no pickle. A look's arrays are
``PREFIX/prediction``, ``PREFIX/raw/0``, ``PREFIX/activity/0``, ``PREFIX/gate/0`` (in the order of
the names in the text) and ``PREFIX/logits``; without a prefix there is none. Slashes do not count
when a file is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.files import atomic_path
from gsto_viz.joints import JOINTS, Joints
from gsto_viz.types import BranchMaps, FloatArray, Stride

ABOUT = "about"
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Look:
    """What one network shows for one image.

    Attributes:
        name: The checkpoint's name.
        network: The architecture's registered name.
        strides: Stride of each branch, e.g. (4, 8, 16, 32) or (8, "6x6").
        prediction: (H, W) uint8 class indices at image size; 0 where ``predicts`` is False.
        raw: Per branch, (h_r, w_r) float32 channel mean as the paper draws it; the size of its
            numbers is arbitrary. Empty where it was not asked for.
        activity: Per branch, (h_r, w_r) float32 gain-fixed mean (``metrics.md`` section 0).
        gates: Gate maps by tap name, (h, w) float32; empty without gates.
        gate_range: Infimum and supremum that the gates' form allows; None without gates.
        site: The taps, or the pattern of the taps, that the branch maps come from.
        logits: (K, h_0, w_0) floats on the finest grid, before they are resized to the image; None
            where they were not asked for.
        align_corners: Whether they are resized corner on corner.
        predicts: Whether the network gives logits of the classes that were asked for.
        features: Per branch, (C, h, w) float32; empty unless asked for, and not kept in files.
        equalizers: With features, by equalizer: number, sum and sum of squares of what enters it,
            and the sums of what leaves it; not kept in files either.
        joints: Of a network for pose whose joints are known; None for others.
        skeletons: (P, J, 3): x and y in pixels of the image of each joint of each person, and the
            peak of its heat map; None where they were not read.
        relations: By attention tap, (m, k*k, h, w) weights over the cells of each window;
            empty unless asked for, and not kept in files.
    """

    name: str
    network: str
    strides: tuple[Stride, ...]
    prediction: npt.NDArray[np.uint8]
    raw: BranchMaps
    activity: BranchMaps
    gates: dict[str, npt.NDArray[np.float32]]
    gate_range: tuple[float, float] | None
    site: str = "stage4.branch*"
    logits: npt.NDArray[np.floating] | None = None
    align_corners: bool = False
    predicts: bool = True
    features: BranchMaps = ()
    equalizers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    relations: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    joints: Joints | None = None
    skeletons: FloatArray | None = None

    def packed(self, prefix: str = "") -> tuple[Arrays, dict[str, Any]]:
        """Return the arrays that are kept, and what must be said of them."""
        start = f"{prefix}/" if prefix else ""
        arrays: Arrays = {f"{start}prediction": self.prediction}
        for kind, maps in (("raw", self.raw), ("activity", self.activity)):
            arrays |= {f"{start}{kind}/{r}": values for r, values in enumerate(maps)}
        arrays |= {f"{start}gate/{k}": values for k, values in enumerate(self.gates.values())}
        for kind, one in (("logits", self.logits), ("skeletons", self.skeletons)):
            if one is not None:
                arrays[f"{start}{kind}"] = one
        about = {
            "name": self.name,
            "network": self.network,
            "strides": list(self.strides),
            "gates": list(self.gates),
            "gate_range": self.gate_range,
            "site": self.site,
        }
        said: dict[str, Any] = {"align_corners": True} if self.align_corners else {}
        said |= {} if self.predicts else {"predicts": False}
        said |= {} if self.joints is None else {"joints": self.joints.classes.name}
        return arrays, about | said


def unpacked(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any], prefix: str) -> Look:
    """Return the look that ``Look.packed`` took apart.

    Raises:
        KeyError: Something is missing.
    """
    known = {name.replace("/", ""): values for name, values in arrays.items()}

    def maps(kind: str, count: int) -> tuple[npt.NDArray[Any], ...]:
        return tuple(known[f"{prefix}{kind}{k}"] for k in range(count))

    branches, limits = len(about["strides"]), about["gate_range"]
    gates = maps("gate", len(about["gates"]))
    return Look(
        name=about["name"],
        network=about["network"],
        strides=tuple(about["strides"]),
        prediction=known[f"{prefix}prediction"],
        raw=maps("raw", branches),
        activity=maps("activity", branches),
        gates=dict(zip(about["gates"], gates, strict=True)),
        gate_range=None if limits is None else (limits[0], limits[1]),
        site=about["site"],
        logits=known.get(f"{prefix}logits"),
        align_corners=bool(about.get("align_corners", False)),
        predicts=bool(about.get("predicts", True)),
        joints=JOINTS[about["joints"]] if "joints" in about else None,
        skeletons=known.get(f"{prefix}skeletons"),
    )


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], about: Any) -> None:
    """Write arrays and what must be said of them as ``.npz``, whole or not at all."""
    text = np.array(json.dumps(about))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{ABOUT: text}, **arrays)


def load_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what ``save_arrays`` wrote; the arrays cannot be written to.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile: The file is missing or damaged.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays: Arrays = {name: file[name] for name in file.files}
    for values in arrays.values():
        values.setflags(write=False)
    about: dict[str, Any] = json.loads(str(arrays.pop(ABOUT)))
    return arrays, about
