"""Figures and the page of an analysis: reports are handed to plots, and plots to files."""

from gsto_viz.figures.catalogue import FIGURES, KINDS, Kind
from gsto_viz.figures.page import write_page
from gsto_viz.figures.write import Written, write_figures

__all__ = ["FIGURES", "KINDS", "Kind", "Written", "write_figures", "write_page"]
