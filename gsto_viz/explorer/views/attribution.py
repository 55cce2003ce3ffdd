"""The page "Attribution"."""

from gsto_viz.explorer.attribution_view import draw_page

draw_page()
