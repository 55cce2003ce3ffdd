"""The page "Explore"."""

from gsto_viz.explorer.explore_view import draw_page

draw_page()
