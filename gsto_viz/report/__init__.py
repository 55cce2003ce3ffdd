"""Analyses: networks over annotated images, to a folder of tables and estimates.

``run`` does the work chunk by chunk; ``passes``, ``measure`` and ``causal`` turn one image into
rows; ``tables`` is the register of what is kept of them, ``folder`` of all else; ``estimates``
estimates from the tables, ``summary`` reads it all back, and the others write and draw it.
"""

from gsto_viz.anatomy import branches_at as Site
from gsto_viz.report.examples import Example
from gsto_viz.report.run import analyze
from gsto_viz.report.summary import PairComparison, Report, load_report
from gsto_viz.stats.nulls import Null
from gsto_viz.types import WorstPair

__all__ = [
    "Example",
    "Null",
    "PairComparison",
    "Report",
    "Site",
    "WorstPair",
    "analyze",
    "load_report",
]
