"""Analyses: networks over annotated images, to a folder of tables and estimates.

``run`` does the work chunk by chunk, ``networks`` looks at one image through one network,
``measure`` turns it into rows, ``null_models`` breaks the link to size on purpose, ``chunks`` and
``folder`` keep what was done, ``summary`` estimates, and ``report`` reads it all back.
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
