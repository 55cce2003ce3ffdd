"""A network of two branches that no room of the package knows: tests copy it into a file."""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from gsto_viz.anatomy import Anatomy, Branch
from gsto_viz.models import Architecture, NetworkConfig, SegmentationNetwork, SegmentationOutput
from gsto_viz.types import Tap


@dataclass(frozen=True)
class PyramidConfig(NetworkConfig):
    width: int
    num_classes: int = 19


class Pyramid(SegmentationNetwork):
    def __init__(self, config):
        super().__init__(config)
        self.fine = nn.Conv2d(3, config.width, 3, stride=4, padding=1)
        self.coarse = nn.Conv2d(config.width, config.width, 3, stride=2, padding=1)
        self.head = nn.Conv2d(config.width, config.num_classes, 1)

    def forward(self, image):
        fine = self.fine(image).relu()
        coarse = self.coarse(fine).relu()
        both = fine + F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
        return SegmentationOutput(self.head(both), {})

    def describe(self):
        taps = (
            Tap("fine", "fine", 4, self.config.width, branch=0),
            Tap("coarse", "coarse", 8, self.config.width, branch=1),
            Tap("head.logits", "head", 4, self.config.num_classes, "logits"),
        )
        return Anatomy(
            branches=tuple(Branch(t.name, t.stride, float(t.stride), t.channels) for t in taps[:2]),
            taps={tap.name: tap for tap in taps},
            outputs={"main": "head.logits"},
        )


ROW = Architecture(
    "pyramid", "two branches and nothing between them", Pyramid, {"tiny": PyramidConfig(6)}
)
