"""Evaluate a network on a data set: protocols, one confusion matrix, object sizes; key points.

``protocols`` goes from an image to logits, also as the papers test (scales, mirror image, windows);
``counting`` counts pixels of images, in threads and processes;
``evaluation`` turns counts into scores;
``pose`` goes from the heat maps of a pose network to persons and their scores.
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
from gsto_viz.evaluate.pose import (
    FoundPerson,
    KeypointScores,
    decode,
    found_people,
    heat_maps,
    keypoint_scores,
    oks,
    oks_nms,
    person_boxes,
    skeletons,
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
    "FoundPerson",
    "KeypointScores",
    "LogitsNotFiniteError",
    "Options",
    "OutcomeScores",
    "Protocol",
    "Tally",
    "adopt_classes",
    "check_classes",
    "class_evidence",
    "decode",
    "evaluate",
    "evaluation_of",
    "found_people",
    "full_logits",
    "heat_maps",
    "keypoint_scores",
    "model_logits",
    "oks",
    "oks_nms",
    "person_boxes",
    "predict",
    "protocol_named",
    "skeletons",
    "tally_images",
]
