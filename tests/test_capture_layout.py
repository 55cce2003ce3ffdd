"""Maps whose channels are last, as Swin's blocks give them, are read like all others."""

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.capture import Capture
from gsto_viz.doctor import examine
from gsto_viz.errors import GstoVizError
from gsto_viz.network import open_network, read_sites
from gsto_viz.report import Site


class Block(nn.Module):
    """Patches of two by two, merged and normalised with the channels last."""

    def __init__(self, before, width):
        super().__init__()
        self.merge = nn.Linear(4 * before, width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        parts = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
        x = self.norm(self.merge(torch.cat(parts, dim=-1)))
        return x + self.mlp(x)


class Last(nn.Module):
    """Strides 4, 8 and 16 with the channels last."""

    def __init__(self, widths=(128, 24, 40)):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        befores = (8, *widths)
        self.stages = nn.ModuleList(Block(b, w) for b, w in zip(befores, widths, strict=False))
        self.head = nn.Linear(widths[-1], 5)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        for stage in self.stages:
            x = stage(x)
        return self.head(x).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def last():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Last().eval()


def literal(last, image):
    """Yield the features of every stage, channels moved by a loop."""
    x = last.stem(image).permute(0, 2, 3, 1)
    for stage in last.stages:
        x = stage(x)
        yield np.stack([x[0, ..., c].detach().numpy() for c in range(x.shape[3])])


@pytest.mark.parametrize("size", [(128, 256), (96, 160), (64, 64)])
def test_channels_that_are_last_are_averaged(last, size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    names = [f"stages.{k}" for k in range(3)]
    with Capture(last, names) as maps:
        last(image)
    for name, features in zip(names, literal(last, image), strict=True):
        np.testing.assert_allclose(maps[name][0].detach(), features.mean(0), rtol=1e-4, atol=1e-5)


def test_the_doctor_reads_their_strides(last):
    seen = examine(last, torch.zeros(1, 3, 128, 256))
    strides = {one.name: one.stride for one in seen.modules}
    assert [strides[f"stages.{k}"] for k in range(3)] == [4, 8, 16]
    assert seen.anatomy.strides == (2, 4, 8, 16)


def test_convolutions_with_layer_norms_inside_stay_as_they_are():
    class Next(nn.Module):
        """As ConvNeXt: the channels go last for a linear layer, and come back."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 32, 2, stride=2)
            self.norm, self.linear = nn.LayerNorm(32), nn.Linear(32, 32)

        def forward(self, x):
            x = self.conv(x).permute(0, 2, 3, 1)
            return self.linear(self.norm(x)).permute(0, 3, 1, 2)

    model = nn.Sequential(Next())
    with Capture(model, ["0"]) as maps:
        out = model(torch.rand(1, 3, 128, 256))
    assert torch.equal(maps["0"], out.mean(1))


def test_what_cannot_be_told_is_asked_for(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        square = Last((16, 24, 40)).eval()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    taps = ("stages.0", "stages.1")
    with pytest.raises(GstoVizError, match=r"'stages.0' gives 1x16x16x16.* layout: nhwc"):
        open_network(square, site=Site(taps, (4, 8))).calibrated([image])
    with pytest.raises(GstoVizError, match="layout 'hwc': give nchw"):
        Site(taps, (4, 8), layout="hwc")
    path = tmp_path / "taps.yaml"
    path.write_text("branches: [stages.0, stages.1]\nstrides: [4, 8]\nlayout: nhwc\n")
    network = open_network(square, site=read_sites(path, {"A": square})["A"])
    network = network.calibrated([image])
    look = network.look(image, features=True)
    for got, features in zip(
        look.features, literal(square, network.tensor(image)[None]), strict=False
    ):
        np.testing.assert_allclose(got, features, rtol=1e-4, atol=1e-5)
    assert len(network.gains["stages.1"].sigma) == 24
