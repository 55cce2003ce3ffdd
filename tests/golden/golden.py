"""What the golden test computes, from recorded branch maps instead of a network.

``recorded.npz`` holds what a plain and a gated tiny network with random weights showed for twelve
scenes: branch maps and gate maps as whole numbers, predictions, labels, instances. A ``Recorded``
network plays them back, so no convolution runs, and what is computed does not depend on processor
or threads. Only documented doors are used: what is inside may move.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

import gsto_viz as gv
from gsto_viz.anatomy import Anatomy
from gsto_viz.cli import main
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.report import Site
from gsto_viz.stats import (
    assignment,
    headline,
    response_by_octave,
    sci,
    sci_by_gap,
    sci_c,
    size_trend,
    tuning,
)
from gsto_viz.types import ClassList, Sample

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.npz"
EXPECTED = HERE / "expected"
NETWORKS = {"A": "hrnetv2-tiny", "B": "gsto-hrnet-tiny"}
STRIDES = (4, 8, 16, 32)
GATE_BOUNDS = (0.5, 1.0)
LEVELS = 1000
"""Maps are recorded as 0..1000: sums of whole numbers are exact, so ranks are alike everywhere."""
TABLES = ("regions", "values", "layout", "classes", "gates", "images")
LEFT_OUT = ("seconds", "calibration_seconds", "versions")
REGIONS_OF = ("scene00", "scene01", "scene02", "scene03")
"""Images whose regions are kept one by one; those of the others are in the indices."""
DIGITS = 12
"""Digits that are kept of floats; compared are 9."""
TINY = 1e-12
"""Below it a float is 0: what is left of a difference of equal numbers."""
RTOL = 1e-9


class Recorded(nn.Module):
    """Give for image number k, whose pixels are all k, what a network showed for it."""

    def __init__(self, maps: Mapping[str, npt.NDArray], key: str) -> None:
        super().__init__()
        mine = {name.split("/")[1]: one for name, one in maps.items() if name.startswith(f"{key}/")}
        self.predictions = mine.pop("prediction")
        self.maps = mine
        for name in mine:
            *folders, last = name.split(".")
            parent: nn.Module = self
            for folder in folders:
                if folder not in dict(parent.named_children()):
                    parent.add_module(folder, nn.ModuleDict())
                parent = parent.get_submodule(folder)
            parent.add_module(last, nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        """Take (1, 3, H, W), give logits that are 1 for the recorded class, (1, 11, H, W)."""
        number = round((float(image[0, 0, 0, 0]) * 0.229 + 0.485) * 255)
        for name, maps in self.maps.items():
            values = torch.from_numpy(maps[number].astype(np.float32) / LEVELS)
            self.get_submodule(name)(values[None, None])
        predicted = torch.from_numpy(self.predictions[number].astype(np.int64))
        return nn.functional.one_hot(predicted, len(CAMVID_CLASSES)).permute(2, 0, 1)[None].float()

    def site(self) -> Anatomy:
        """Return where this network is read."""
        height = self.predictions.shape[1]
        strides = {name: height // maps.shape[1] for name, maps in self.maps.items()}
        branches = tuple(f"stage4.branch{r}" for r in range(len(STRIDES)))
        gates = {name: stride for name, stride in strides.items() if name not in branches}
        return Site(branches, STRIDES, gates, GATE_BOUNDS if gates else None)


class RecordedScenes:
    """The labels of the recorded scenes, with images that say their number."""

    name = "recorded"
    classes: ClassList = CAMVID_CLASSES

    def __init__(self, maps: Mapping[str, npt.NDArray]) -> None:
        self.labels, self.instances = maps["labels"], maps["instances"]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Name the scenes."""
        return tuple(f"scene{k:02d}" for k in range(len(self)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        labels = self.labels[index]
        image = np.full((*labels.shape, 3), index, np.uint8)
        return Sample(self.ids[index], image, labels, self.instances[index])


def compute(folder: Path) -> None:
    """Write everything that the golden test compares into a new folder, as CSV and JSON."""
    with np.load(RECORDED, allow_pickle=False) as file:
        maps = dict(file)
    networks = {key: Recorded(maps, key) for key in NETWORKS}
    analysis = folder.with_name("analysis")
    report = gv.analyze(
        networks,
        RecordedScenes(maps),
        analysis,
        nulls=True,
        random_draws=1,
        sites={key: network.site() for key, network in networks.items()},
    )
    for words in (["compare", str(analysis)], ["figures", str(analysis), "--format", "png"]):
        if main([*words, "--quiet"]):
            raise RuntimeError(f"gsto-viz {' '.join(words)} failed")
    folder.mkdir()
    for name in TABLES:
        table = pd.read_parquet(analysis / f"{name}.parquet")
        kept = table["image"].isin(REGIONS_OF) if name == "regions" else slice(None)
        write_csv(folder / f"{name}.csv", table[kept])
    for path in [*analysis.glob("*.csv"), *analysis.glob("figures/*.csv")]:
        write_csv(folder / path.relative_to(analysis), pd.read_csv(path))
    for name in ("summary", "comparison"):
        write_json(folder / f"{name}.json", json.loads((analysis / f"{name}.json").read_text()))
    tables = {key: report.table(key) for key in report.keys}
    write_json(folder / "statistics.json", {key: statistics(t) for key, t in tables.items()})


def statistics(table: pd.DataFrame) -> dict[str, Any]:
    """Compute what an analysis of few images leaves out, from its region table."""
    return {
        "sci_by_gap": sci_by_gap(table),
        "sci_whole": sci(table, response="q_whole"),
        "sci_edge_of_deep_regions": headline(table, min_depth_px=8.0).sci_edge,
        "sci_c_of_responses": sci_c(table, response="z"),
        "tuning": tuning(table, min_images=3),
        "response_by_octave": response_by_octave(table),
        "size_trend": size_trend(table),
        "assignment": assignment(table, draws=50),
    }


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table with floats of 12 digits."""
    path.parent.mkdir(exist_ok=True)
    floats = frame.select_dtypes("float").columns
    values = {
        name: frame[name].where(frame[name].abs().ge(TINY) | frame[name].isna(), 0.0)
        for name in floats
    }
    frame.assign(**values).to_csv(path, index=False, float_format=f"%.{DIGITS}g")


def write_json(path: Path, value: Any) -> None:
    """Write anything with floats of 12 digits."""
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """Turn records, tables and arrays into JSON values, rounded; infinities and NaN as words."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    if isinstance(value, pd.DataFrame):
        return plain(value.to_dict("list"))
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items() if key not in LEFT_OUT}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return rounded(value) if math.isfinite(value) else str(value)
    return value


def rounded(value: float) -> float:
    """Round to the digits that are kept."""
    return 0.0 if abs(value) < TINY else float(f"{value:.{DIGITS}g}")
