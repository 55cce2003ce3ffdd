"""Training: samples, the loop, its log, and a state that a killed run continues from."""

from gsto_viz.train.checks import check_data, validation_spec
from gsto_viz.train.gains import add_gains
from gsto_viz.train.loop import TrainingResult, train
from gsto_viz.train.trainer import TrainingStopped

__all__ = [
    "TrainingResult",
    "TrainingStopped",
    "add_gains",
    "check_data",
    "train",
    "validation_spec",
]
