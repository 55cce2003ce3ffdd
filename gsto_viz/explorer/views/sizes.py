"""The page "Sizes"."""

from gsto_viz.explorer.sizes_view import draw_page

draw_page()
