"""The doctor: what gsto_viz sees in any network, from one forward pass.

``examine`` runs the network and returns the ``facts``, ``watch`` is the pass with hooks on every
module, ``report_text`` lays the facts out.
"""

from gsto_viz.doctor.examine import Examination, examine, stride_of
from gsto_viz.doctor.text import report_text
from gsto_viz.doctor.watch import watch

__all__ = ["Examination", "examine", "report_text", "stride_of", "watch"]
