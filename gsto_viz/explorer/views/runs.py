"""The page "Runs"."""

from gsto_viz.explorer.runs_view import draw_page

draw_page()
