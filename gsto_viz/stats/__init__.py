"""Statistics of region tables: pure functions, tables and small dataclasses out.

Nothing here knows a network or draws. ``tables`` collects region tables, ``inference`` has
estimates and the bootstrap, ``sizes`` the responses by object size, ``sci`` the Scale Confusion
Index and its companions.
"""

from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.sci import concordance, pair_counts, sci, sci_edge
from gsto_viz.stats.sizes import response_by_octave

__all__ = ["Estimate", "concordance", "pair_counts", "response_by_octave", "sci", "sci_edge"]
