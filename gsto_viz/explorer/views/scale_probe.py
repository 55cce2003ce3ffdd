"""The page "Scale probe"."""

from gsto_viz.explorer.scale_probe_view import draw_page

draw_page()
