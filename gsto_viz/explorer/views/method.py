"""The page "Method"."""

from gsto_viz.explorer.method_view import draw_page

draw_page()
