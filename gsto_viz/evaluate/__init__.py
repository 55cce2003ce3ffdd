"""Evaluate a segmentation network on a data set: protocols, one confusion matrix, object sizes.

``protocols`` goes from an image to logits, also as the papers test (scales, mirror image, windows);
``counting`` counts pixels of images, in threads and processes;
``evaluation`` turns counts into scores.
"""

from gsto_viz.evaluate.counting import Options, Tally
from gsto_viz.evaluate.evaluation import (
    Evaluation,
    OutcomeScores,
    adopt_classes,
    check_classes,
    evaluate,
    evaluation_of,
    tally_images,
)
from gsto_viz.evaluate.protocols import (
    PROTOCOLS,
    LogitsNotFiniteError,
    Protocol,
    class_evidence,
    full_logits,
    predict,
    protocol_named,
)
from gsto_viz.models.outputs import model_logits

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "LogitsNotFiniteError",
    "Options",
    "OutcomeScores",
    "Protocol",
    "Tally",
    "adopt_classes",
    "check_classes",
    "class_evidence",
    "evaluate",
    "evaluation_of",
    "full_logits",
    "model_logits",
    "predict",
    "protocol_named",
    "tally_images",
]
