"""Figures: they draw results, never compute them, and know nothing of networks.

``plot_*`` and ``draw_*`` draw into axes that are given, ``figure_*`` arrange whole pages and return
a ``matplotlib.figure.Figure``; ``save_figure`` writes one.
"""

from gsto_viz.plots.attribution import figure_attribution
from gsto_viz.plots.attribution_fields import figure_receptive_fields
from gsto_viz.plots.attribution_paths import figure_branch_size, figure_drops
from gsto_viz.plots.contact import maps_figure
from gsto_viz.plots.figure1 import figure_scale_confusion
from gsto_viz.plots.heatmaps import draw_heatmap
from gsto_viz.plots.panels import draw_class_legend, draw_image, draw_labels, draw_outlines
from gsto_viz.plots.save import alt_text, save_figure
from gsto_viz.plots.sizes import figure_sizes, plot_sizes

__all__ = [
    "alt_text",
    "draw_class_legend",
    "draw_heatmap",
    "draw_image",
    "draw_labels",
    "draw_outlines",
    "figure_attribution",
    "figure_branch_size",
    "figure_drops",
    "figure_receptive_fields",
    "figure_scale_confusion",
    "figure_sizes",
    "maps_figure",
    "plot_sizes",
    "save_figure",
]
