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

from gsto_viz.stats.boundary import BoundaryCounts, boundary_counts
from gsto_viz.stats.boundary_pixels import boundary_pixels
from gsto_viz.stats.causal import causal_coarseness, sci_c, sci_c_values
from gsto_viz.stats.compare import Comparison, compare_tables, compare_values, comparison_table
from gsto_viz.stats.disequilibrium import (
    Moments,
    bilinear_closed_form,
    bilinear_variance_ratio,
    disequilibrium,
    gradient_rms,
    moments,
)
from gsto_viz.stats.drops import drop_columns, drops, mean_drops
from gsto_viz.stats.gate_sizes import gate_by_octave, gate_cells, variance_explained
from gsto_viz.stats.gate_values import gate_description, gate_responses
from gsto_viz.stats.gates import (
    effective_transmission,
    gate_edge,
    gate_pair_counts,
    gate_preference,
    gate_selectivity,
)
from gsto_viz.stats.hypothesis import (
    benjamini_hochberg,
    cliffs_delta,
    d_z,
    equivalence,
    holm,
    sign_flip,
)
from gsto_viz.stats.indices import image_indices
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.information import Assignment, assignment
from gsto_viz.stats.interaction import Interaction, interaction, scale_interaction
from gsto_viz.stats.layout import LayoutMean
from gsto_viz.stats.nulls import (
    common_maps,
    permute_sizes,
    shift_regions,
    swapped_labels,
    toroidal_shift,
)
from gsto_viz.stats.outcome import class_scores, image_scores, outcome_by_size, outcome_counts
from gsto_viz.stats.probes import (
    ProbeSums,
    SizeProbe,
    add_by_fold,
    balanced_accuracy,
    class_hits,
    cross_image_r2,
    fold_of,
    held_out_fits,
    probe_sums,
    random_projection,
    ridge,
    size_probe,
    size_targets,
    squared_errors,
)
from gsto_viz.stats.profile import distance_profile, energy_ratio, hf_auc, lf_auc
from gsto_viz.stats.receptive import effective_size, erf_estimate, erf_slope, fields_slope
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
from gsto_viz.stats.similarity import cka, cka_sums, hsic, object_batches
from gsto_viz.stats.sizes import response_by_octave
from gsto_viz.stats.specification import Specification, specification_curve, table_curve
from gsto_viz.stats.spectrum import (
    SpectrumSums,
    block_average,
    redundancy,
    spectral_centroid,
    spectrum_sums,
)
from gsto_viz.stats.transfer import (
    scale_transfer,
    transfer_beyond_blur,
    transfer_counts,
    transfer_rows,
    transfer_slope,
    transfer_values,
)
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
    "Moments",
    "ProbeSums",
    "SizeProbe",
    "Specification",
    "SpectrumSums",
    "Tuning",
    "Verdict",
    "add_by_fold",
    "assignment",
    "balanced_accuracy",
    "benjamini_hochberg",
    "bilinear_closed_form",
    "bilinear_variance_ratio",
    "block_average",
    "boundary_counts",
    "boundary_pixels",
    "c_coarse",
    "c_fine",
    "causal_coarseness",
    "cka",
    "cka_sums",
    "class_hits",
    "class_scores",
    "cliffs_delta",
    "common_maps",
    "compare_tables",
    "compare_values",
    "comparison_table",
    "concordance",
    "cross_image_r2",
    "d_z",
    "disequilibrium",
    "distance_profile",
    "drop_columns",
    "drops",
    "effective_size",
    "effective_transmission",
    "energy_ratio",
    "equivalence",
    "erf_estimate",
    "erf_slope",
    "fields_slope",
    "fold_of",
    "gate_by_octave",
    "gate_cells",
    "gate_description",
    "gate_edge",
    "gate_pair_counts",
    "gate_preference",
    "gate_responses",
    "gate_selectivity",
    "gradient_rms",
    "headline",
    "held_out_fits",
    "hf_auc",
    "holm",
    "hsic",
    "image_indices",
    "image_scores",
    "interaction",
    "lf_auc",
    "mean_drops",
    "moments",
    "object_batches",
    "outcome_by_size",
    "outcome_counts",
    "pair_counts",
    "permute_sizes",
    "probe_sums",
    "random_projection",
    "redundancy",
    "response_by_octave",
    "ridge",
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
    "size_probe",
    "size_targets",
    "size_trend",
    "specification_curve",
    "spectral_centroid",
    "spectrum_sums",
    "squared_errors",
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
