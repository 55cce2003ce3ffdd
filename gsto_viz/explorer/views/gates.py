"""The page "Gates"."""

from gsto_viz.explorer.gates_view import draw_page

draw_page()
