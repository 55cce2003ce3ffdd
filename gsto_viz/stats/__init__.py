"""Statistics of region tables: pure functions, tables and small dataclasses out.

Nothing here knows a network or draws. ``tables`` collects region tables; ``inference`` has
estimates and the bootstrap, ``hypothesis`` paired tests, ``seeds`` claims about methods. ``sci``
is the Scale Confusion Index, ``causal`` the same on contributions, ``verdict`` the headline of one
model, ``compare`` and ``specification`` the difference of two. ``sizes``, ``tuning``, ``trend``,
``information`` and ``interaction`` relate branches to sizes, ``boundary`` and ``profile`` to edges;
``drops`` says what interventions cost, ``layout`` removes what depends on the place in the image.
``gates``, ``gate_sizes`` and ``gate_values`` read gates; ``transfer`` resizing, ``probes`` what is
decodable, ``spectrum``, ``similarity`` and ``disequilibrium`` features; ``outcome`` scores by size;
``nulls`` breaks the link to size on purpose; ``indices`` is all pair indices of one image.
"""

from gsto_viz.stats.boundary import BoundaryCounts, boundary_counts, boundary_pixels
from gsto_viz.stats.causal import (
    causal_coarseness,
    drops,
    effective_size,
    erf_slope,
    fields_slope,
    mean_drops,
    scale_transfer,
    sci_c,
    sci_c_values,
    transfer_beyond_blur,
    transfer_counts,
    transfer_rows,
    transfer_slope,
    transfer_values,
)
from gsto_viz.stats.compare import (
    Comparison,
    Headline,
    Verdict,
    compare_tables,
    compare_values,
    comparison_table,
    headline,
    seed_image_difference,
    seed_permutation,
    strict_verdict,
)
from gsto_viz.stats.gates import (
    effective_transmission,
    gate_by_octave,
    gate_cells,
    gate_description,
    gate_edge,
    gate_pair_counts,
    gate_preference,
    gate_responses,
    gate_selectivity,
    variance_explained,
)
from gsto_viz.stats.hypothesis import (
    benjamini_hochberg,
    cliffs_delta,
    d_z,
    equivalence,
    holm,
    sign_flip,
    size_trend,
)
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.information import (
    Assignment,
    assignment,
    scale_interaction,
)
from gsto_viz.stats.nulls import (
    LayoutMean,
    common_maps,
    permute_sizes,
    shift_regions,
    swapped_labels,
    toroidal_shift,
)
from gsto_viz.stats.outcome import class_scores, image_scores, outcome_by_size, outcome_counts
from gsto_viz.stats.pairs import (
    c_coarse,
    c_fine,
    concordance,
    image_indices,
    pair_counts,
    sci,
    sci_by_gap,
    sci_edge,
)
from gsto_viz.stats.sizes import (
    Tuning,
    distance_profile,
    response_by_octave,
    tuning,
)
from gsto_viz.stats.specification import Specification, specification_curve, table_curve

__all__ = [
    "Assignment",
    "BoundaryCounts",
    "Comparison",
    "Estimate",
    "Headline",
    "LayoutMean",
    "Specification",
    "Tuning",
    "Verdict",
    "assignment",
    "benjamini_hochberg",
    "boundary_counts",
    "boundary_pixels",
    "c_coarse",
    "c_fine",
    "causal_coarseness",
    "class_scores",
    "cliffs_delta",
    "common_maps",
    "compare_tables",
    "compare_values",
    "comparison_table",
    "concordance",
    "d_z",
    "distance_profile",
    "drops",
    "effective_size",
    "effective_transmission",
    "equivalence",
    "erf_slope",
    "fields_slope",
    "gate_by_octave",
    "gate_cells",
    "gate_description",
    "gate_edge",
    "gate_pair_counts",
    "gate_preference",
    "gate_responses",
    "gate_selectivity",
    "headline",
    "holm",
    "image_indices",
    "image_scores",
    "mean_drops",
    "outcome_by_size",
    "outcome_counts",
    "pair_counts",
    "permute_sizes",
    "response_by_octave",
    "scale_interaction",
    "scale_transfer",
    "sci",
    "sci_by_gap",
    "sci_c",
    "sci_c_values",
    "sci_edge",
    "seed_image_difference",
    "seed_permutation",
    "shift_regions",
    "sign_flip",
    "size_trend",
    "specification_curve",
    "strict_verdict",
    "swapped_labels",
    "table_curve",
    "toroidal_shift",
    "transfer_beyond_blur",
    "transfer_counts",
    "transfer_rows",
    "transfer_slope",
    "transfer_values",
    "tuning",
    "variance_explained",
]
