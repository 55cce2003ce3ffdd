"""Statistics of region tables: pure functions, tables and small dataclasses out.

Nothing here knows a network or draws. ``tables`` collects region tables; ``inference`` has
estimates and the bootstrap, ``hypothesis`` paired tests, ``seeds`` claims about methods. ``sci``
is the Scale Confusion Index, ``causal`` the same on contributions, ``verdict`` the headline of one
model, ``compare`` and ``specification`` the difference of two. ``sizes``, ``tuning``, ``trend``,
``information`` and ``interaction`` relate branches to sizes, ``boundary`` and ``profile`` to edges;
``drops`` says what interventions cost, ``layout`` removes what depends on the place in the image.
"""

from gsto_viz.stats.boundary import BoundaryCounts, boundary_counts
from gsto_viz.stats.boundary_pixels import boundary_pixels
from gsto_viz.stats.causal import causal_coarseness, sci_c, sci_c_values
from gsto_viz.stats.compare import Comparison, compare_tables, compare_values, comparison_table
from gsto_viz.stats.drops import drop_columns, drops, mean_drops
from gsto_viz.stats.hypothesis import (
    benjamini_hochberg,
    cliffs_delta,
    d_z,
    equivalence,
    holm,
    sign_flip,
)
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.information import Assignment, assignment
from gsto_viz.stats.interaction import Interaction, interaction, scale_interaction
from gsto_viz.stats.layout import LayoutMean
from gsto_viz.stats.profile import distance_profile, energy_ratio, hf_auc, lf_auc
from gsto_viz.stats.receptive import effective_size, erf_estimate, erf_slope
from gsto_viz.stats.sci import (
    c_coarse,
    c_fine,
    concordance,
    pair_counts,
    sci,
    sci_by_gap,
    sci_edge,
)
from gsto_viz.stats.seeds import seed_image_difference, seed_permutation
from gsto_viz.stats.sizes import response_by_octave
from gsto_viz.stats.specification import Specification, specification_curve, table_curve
from gsto_viz.stats.trend import size_trend
from gsto_viz.stats.tuning import Tuning, tuning
from gsto_viz.stats.verdict import Headline, Verdict, headline, strict_verdict

__all__ = [
    "Assignment",
    "BoundaryCounts",
    "Comparison",
    "Estimate",
    "Headline",
    "Interaction",
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
    "cliffs_delta",
    "compare_tables",
    "compare_values",
    "comparison_table",
    "concordance",
    "d_z",
    "distance_profile",
    "drop_columns",
    "drops",
    "effective_size",
    "energy_ratio",
    "equivalence",
    "erf_estimate",
    "erf_slope",
    "headline",
    "hf_auc",
    "holm",
    "interaction",
    "lf_auc",
    "mean_drops",
    "pair_counts",
    "response_by_octave",
    "scale_interaction",
    "sci",
    "sci_by_gap",
    "sci_c",
    "sci_c_values",
    "sci_edge",
    "seed_image_difference",
    "seed_permutation",
    "sign_flip",
    "size_trend",
    "specification_curve",
    "strict_verdict",
    "table_curve",
    "tuning",
]
