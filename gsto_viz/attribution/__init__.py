"""Attribution: who carries the evidence, and what happens when a path is closed.

``areas`` and ``targets`` say what is explained. ``head`` splits the head by branch exactly and has
what stands in for absent branches; ``shapley`` gives shares and exact Shapley values of the
branches, and keeps them for any target of an image. ``interventions`` changes places of a network
and counts what that costs. ``gradients`` runs methods of the register (``gsto_viz.words.METHODS``)
on a twin of the network, at any taps and on the image; ``sanity`` says how far maps can be trusted.
``receptive`` measures effective receptive fields, and the same objects at several sizes;
``explain`` puts everything about one target together. Modules that need Captum are not imported
here.
"""

from gsto_viz.attribution.areas import View, parse_area
from gsto_viz.attribution.head import (
    HeadPass,
    head_pass,
    image_baseline,
    mean_baseline,
    own_mean_baseline,
    zero_baseline,
)
from gsto_viz.attribution.interventions import (
    Intervention,
    blurred,
    branch_places,
    captured,
    constant,
    intervene,
    intervention_counts,
    list_places,
    mean_features,
    parse_intervention,
    removals,
    replaced,
    swapped,
)
from gsto_viz.attribution.receptive import (
    ReceptiveField,
    field_rows,
    receptive_fields,
)
from gsto_viz.attribution.shapley import (
    BranchShapley,
    EvidenceField,
    RegionShapley,
    branch_shapley,
    evidence_field,
    exact_shapley,
    region_shapley,
    shapley_maps,
    shapley_tables,
)
from gsto_viz.attribution.targets import Target, region_entries, resolve, resolve_batch
from gsto_viz.network import Baseline

__all__ = [
    "Baseline",
    "BranchShapley",
    "EvidenceField",
    "HeadPass",
    "Intervention",
    "ReceptiveField",
    "RegionShapley",
    "Target",
    "View",
    "blurred",
    "branch_places",
    "branch_shapley",
    "captured",
    "constant",
    "evidence_field",
    "exact_shapley",
    "field_rows",
    "head_pass",
    "image_baseline",
    "intervene",
    "intervention_counts",
    "list_places",
    "mean_baseline",
    "mean_features",
    "own_mean_baseline",
    "parse_area",
    "parse_intervention",
    "receptive_fields",
    "region_entries",
    "region_shapley",
    "removals",
    "replaced",
    "resolve",
    "resolve_batch",
    "shapley_maps",
    "shapley_tables",
    "swapped",
    "zero_baseline",
]
