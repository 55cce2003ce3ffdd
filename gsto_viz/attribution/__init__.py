"""Attribution: who carries the evidence, and what happens when a path is closed.

``places`` and ``targets`` say what is explained, ``words`` reads them from text. ``head`` splits
the head by branch exactly, ``baselines`` stand in for absent branches, and ``shapley`` gives shares
and exact Shapley values of the branches, ``field`` keeps them for any target of an image.
``paths`` names what ``interventions`` change, and
``effects`` counts what that costs. ``gradients`` has Captum's methods on a ``twin`` of the network,
``taps`` runs them at any place; ``sanity``, ``fidelity`` and ``checks`` say how far maps can be
trusted. ``receptive`` measures effective receptive fields, ``transfer`` the same objects at several
sizes, and ``explain`` puts everything about one target together. Modules that need Captum are not
imported here.
"""

from gsto_viz.attribution.areas import View
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
from gsto_viz.attribution.targets import Target, parse_area, region_entries, resolve, resolve_batch
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
