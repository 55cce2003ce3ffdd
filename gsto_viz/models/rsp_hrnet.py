"""RSP on an HRNet: the same trunk as HRNetV2 or GSTO-HRNet, the same head as on a ResNet."""

from dataclasses import replace

from torch import Tensor

from gsto_viz.anatomy import Anatomy
from gsto_viz.models.base import SegmentationOutput, initialize, refuse_small
from gsto_viz.models.config import RelationHRNetConfig
from gsto_viz.models.heads import RelationHead
from gsto_viz.models.hrnet import STRIDES, HRNet
from gsto_viz.models.relation import window_needs


class RelationHRNet(HRNet):
    """An HRNet whose four branches after stage 4 enter RSP; official weights fit its trunk."""

    config: RelationHRNetConfig
    head: RelationHead

    def __init__(self, config: RelationHRNetConfig) -> None:
        super().__init__(config)
        # ImageNet weights are for the trunk alone, and of HRNet's own start little would pass.
        initialize(self.head, "kaiming")

    def _main_head(self) -> RelationHead:
        return RelationHead(self.config.widths, self.config)

    def forward(self, image: Tensor) -> SegmentationOutput:
        """(N, 3, H, W) normalised image -> logits at stride 4.

        Raises:
            RefusedImageError: The image is smaller than branches or windows need.
        """
        refuse_small(image, STRIDES[-1], window_needs(self.config.window))
        branches, auxiliary = self.branches(image)
        output: SegmentationOutput = self.head(branches)
        return output._replace(auxiliary=auxiliary)

    def describe(self) -> Anatomy:
        """Name the places of the trunk and of the head, compared behind the head's relations."""
        trunk, head = super().describe(), self.head.describe(self.config.widths)
        own, (main, *deep) = head.heads[0], trunk.heads
        before = {name: tap for name, tap in trunk.taps.items() if name not in head.taps}
        return replace(
            trunk,
            branches=head.branches,
            taps=before | dict(head.taps),
            transfers=(*trunk.transfers, *head.transfers),
            heads=(replace(own, sites=(*main.sites, *own.sites)), *deep),
        )
