"""Figures: they draw results, never compute them, and know nothing of networks.

``plot_*`` and ``draw_*`` draw into axes that are given, ``figure_*`` arrange whole pages and return
a ``matplotlib.figure.Figure``; ``save_figure`` writes one. ``*_data`` gives what a figure draws as
one tidy table; where the figure takes frames by network, ``join_frames`` does.
"""

from gsto_viz.plots.attribution import figure_attribution
from gsto_viz.plots.attribution_paths import (
    branch_size_data,
    figure_branch_size,
    figure_drops,
    figure_receptive_fields,
)
from gsto_viz.plots.dots import figure_sci_by_gap, figure_sci_dots, sci_dots_data
from gsto_viz.plots.enlargement import enlarged_size, enlargement_data, figure_enlargement
from gsto_viz.plots.figure1 import figure_gate_maps, figure_scale_confusion, scale_confusion_data
from gsto_viz.plots.gates import figure_gate_by_size, gate_by_size_data
from gsto_viz.plots.listening import figure_listening
from gsto_viz.plots.page import FORMATS, alt_text, join_frames, save_figure
from gsto_viz.plots.pairs import (
    PairRow,
    figure_segmentations,
    figure_worst_pairs,
    segmentations_data,
    worst_pairs_data,
)
from gsto_viz.plots.panels import (
    draw_class_legend,
    draw_heard,
    draw_heatmap,
    draw_image,
    draw_labels,
    draw_outlines,
)
from gsto_viz.plots.sizes import (
    figure_distance_profile,
    figure_tuning_fan,
    plot_sizes,
    tuning_fan_data,
)
from gsto_viz.plots.skeletons import (
    answer_panel,
    draw_skeletons,
    figure_skeletons,
    paint_skeletons,
    skeletons_data,
)
from gsto_viz.plots.specifications import (
    costs_data,
    figure_costs,
    figure_specification,
    figure_training,
)
from gsto_viz.plots.wall import Marks, Panel, PanelRow, figure_view, maps_figure

__all__ = [
    "FORMATS",
    "Marks",
    "PairRow",
    "Panel",
    "PanelRow",
    "alt_text",
    "answer_panel",
    "branch_size_data",
    "costs_data",
    "draw_class_legend",
    "draw_heard",
    "draw_heatmap",
    "draw_image",
    "draw_labels",
    "draw_outlines",
    "draw_skeletons",
    "enlarged_size",
    "enlargement_data",
    "figure_attribution",
    "figure_branch_size",
    "figure_costs",
    "figure_distance_profile",
    "figure_drops",
    "figure_enlargement",
    "figure_gate_by_size",
    "figure_gate_maps",
    "figure_listening",
    "figure_receptive_fields",
    "figure_scale_confusion",
    "figure_sci_by_gap",
    "figure_sci_dots",
    "figure_segmentations",
    "figure_skeletons",
    "figure_specification",
    "figure_training",
    "figure_tuning_fan",
    "figure_view",
    "figure_worst_pairs",
    "gate_by_size_data",
    "join_frames",
    "maps_figure",
    "paint_skeletons",
    "plot_sizes",
    "save_figure",
    "scale_confusion_data",
    "sci_dots_data",
    "segmentations_data",
    "skeletons_data",
    "tuning_fan_data",
    "worst_pairs_data",
]
