"""HRNet for pose: the same trunk, whose logits are heat maps of a person's joints.

The official pose HRNet (arXiv:1902.09212) fuses all branches into branch 0 at the end, upsampling
by nearest neighbours, and reads it with one 1x1 convolution. (Its code upsamples by fixed factors
and takes images whose sides 32 divides; the same comes out here for those, and any image fits.)
GSTO-HRNet for pose was not released, and its paper says nothing of its structure. Of what we tried,
only GSTO-HRNet as for segmentation (four branches concatenated, supervised gates after stages 2 and
3, whose predictors give heat maps, too) has all four costs that the paper prints: it is that.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.anatomy import Anatomy
from gsto_viz.models.config import PoseHRNetConfig
from gsto_viz.models.fusion import Fusion
from gsto_viz.models.hrnet import STRIDES, HRNet, SegmentationHead, transfer_edges
from gsto_viz.types import Tap


class FusionHead(nn.Module):
    """The last fusion, which leads to branch 0 alone, and a 1x1 convolution of it.

    Attributes:
        fusion: Of all branches; one target.
        classifier: Gives the heat maps.
    """

    def __init__(self, config: PoseHRNetConfig) -> None:
        super().__init__()
        self.dropout = config.head_dropout
        self.fusion = Fusion(len(config.widths), config, targets=1)
        self.classifier = nn.Conv2d(config.width, config.num_classes, 1)

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Branch r (N, C_r, h_r, w_r) -> heat maps (N, J, h_0, w_0)."""
        (fused,) = self.fusion(branches)
        maps: Tensor = self.classifier(F.dropout2d(fused, self.dropout, self.training))
        return maps


class PoseHRNet(HRNet):
    """An HRNet or GSTO-HRNet for pose, by ``config.head`` and ``config.gating``."""

    config: PoseHRNetConfig

    def _main_head(self) -> nn.Module:
        if self.config.head == "concat":
            return super()._main_head()
        return FusionHead(self.config)

    def starts_small(self) -> tuple[nn.Conv2d, ...]:
        """Return what gives heat maps: nearly all of their targets is 0."""
        heads = (one for one in self.modules() if isinstance(one, FusionHead | SegmentationHead))
        return tuple(head.classifier for head in heads)

    def describe(self) -> Anatomy:
        """Name the places; without a concatenation, compared where the last fusion begins."""
        found = super().describe()
        if not isinstance(self.head, FusionHead):
            return found
        site = f"stage4.m{self.config.modules[-1] - 1}"
        main, *deep = found.heads
        main = replace(main, inputs=main.taps, fusion=site, sites=(*main.sites, site))
        fused = Tap("head.fused", "head.fusion.targets.0", STRIDES[0], self.config.width)
        *before, logits = found.taps.values()
        return replace(
            found,
            taps={tap.name: tap for tap in (*before, fused, logits)},
            transfers=(*found.transfers, *transfer_edges(site, self.head.fusion, "head")),
            heads=(main, *deep),
        )
