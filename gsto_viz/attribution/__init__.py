"""Attribution: who carries the evidence, and what happens when a path is closed.

``places`` and ``targets`` say what is explained, ``words`` reads them from text. ``head`` splits
the head by branch exactly, ``baselines`` stand in for absent branches, and ``shapley`` gives shares
and exact Shapley values of the branches.
"""

from gsto_viz.attribution.baselines import Baseline, image_baseline, mean_baseline, zero_baseline
from gsto_viz.attribution.head import HeadPass, head_pass
from gsto_viz.attribution.places import View
from gsto_viz.attribution.shapley import (
    BranchShapley,
    RegionShapley,
    branch_shapley,
    exact_shapley,
    region_shapley,
    shapley_maps,
)
from gsto_viz.attribution.targets import Target, region_entries, resolve, resolve_batch
from gsto_viz.attribution.words import parse_place

__all__ = [
    "Baseline",
    "BranchShapley",
    "HeadPass",
    "RegionShapley",
    "Target",
    "View",
    "branch_shapley",
    "exact_shapley",
    "head_pass",
    "image_baseline",
    "mean_baseline",
    "parse_place",
    "region_entries",
    "region_shapley",
    "resolve",
    "resolve_batch",
    "shapley_maps",
    "zero_baseline",
]
