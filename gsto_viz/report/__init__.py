"""Analyses: networks over annotated images, to a folder of tables and estimates.

``run`` does the work chunk by chunk, ``subjects`` looks at one image through one network,
``measure`` turns it into rows, ``null_models`` breaks the link to size on purpose, ``chunks`` and
``folder`` keep what was done, ``summary`` estimates, and ``report`` reads it all back.
"""

from gsto_viz.report.examples import Example, WorstPair
from gsto_viz.report.null_summary import NULLS, Null
from gsto_viz.report.report import PairComparison, Report, load_report
from gsto_viz.report.run import analyze
from gsto_viz.report.subjects import Site, site_of

__all__ = [
    "NULLS",
    "Example",
    "Null",
    "PairComparison",
    "Report",
    "Site",
    "WorstPair",
    "analyze",
    "load_report",
    "site_of",
]
