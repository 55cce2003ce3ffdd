"""Our networks against a functional forward written from the official key names alone."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gsto_viz.models import HRNet, build_model, to_official_keys


class OfficialForward:
    """What the released code computes, from a state dict with official keys and no module.

    All structure (depths, widths, gates) is read off the keys.
    """

    def __init__(self, state: dict[str, Tensor], align_corners: bool = False) -> None:
        self.state = state
        self.align_corners = align_corners
        self.gated = any(".att_layers." in key for key in state)
        self.pose = "final_layer.weight" in state

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        def column(key: str) -> Tensor:
            return self.state[f"{name}.{key}"].view(1, -1, 1, 1)

        deviation = (column("running_var") + 1e-5).sqrt()
        return (x - column("running_mean")) / deviation * column("weight") + column("bias")

    def unit(self, name: str, x: Tensor, stride: int = 1, relu: bool = True) -> Tensor:
        x = self.norm(f"{name}.1", self.conv(f"{name}.0", x, stride))
        return x.clamp(min=0) if relu else x

    def resize(self, x: Tensor, size: torch.Size) -> Tensor:
        """Bilinear resizing as two matrix products."""
        rows = self._weights(x.shape[-2], size[-2]).to(x)
        columns = self._weights(x.shape[-1], size[-1]).to(x)
        return torch.einsum("ia,ncab,jb->ncij", rows, x, columns)

    def _weights(self, old: int, new: int) -> Tensor:
        matrix = np.zeros((new, old))
        for i in range(new):
            if self.align_corners:
                place = i * (old - 1) / (new - 1) if new > 1 else 0.0
            else:
                place = max((i + 0.5) * old / new - 0.5, 0.0)
            left = min(int(place), old - 1)
            right = min(left + 1, old - 1)
            matrix[i, left] += 1 - (place - left)
            matrix[i, right] += place - left
        return torch.from_numpy(matrix)

    def enlarge(self, x: Tensor, octaves: int, size: torch.Size) -> Tensor:
        """Bring a coarser branch to a finer one: for pose every cell becomes a square of equals."""
        if not self.pose:
            return self.resize(x, size)
        return x.repeat_interleave(2**octaves, dim=2).repeat_interleave(2**octaves, dim=3)

    def count(self, prefix: str) -> int:
        return len({k[len(prefix) :].split(".")[0] for k in self.state if k.startswith(prefix)})

    def basic_block(self, name: str, x: Tensor) -> Tensor:
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x)).clamp(min=0)
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y))
        return (x + y).clamp(min=0)

    def bottleneck(self, name: str, x: Tensor) -> Tensor:
        y = x
        for number in (1, 2, 3):
            y = self.norm(f"{name}.bn{number}", self.conv(f"{name}.conv{number}", y))
            if number < 3:
                y = y.clamp(min=0)
        if f"{name}.downsample.0.weight" in self.state:
            x = self.unit(f"{name}.downsample", x, relu=False)
        return (x + y).clamp(min=0)

    def hr_module(self, name: str, xs: list[Tensor]) -> list[Tensor]:
        ys = []
        for b, x in enumerate(xs):
            for k in range(self.count(f"{name}.branches.{b}.")):
                x = self.basic_block(f"{name}.branches.{b}.{k}", x)
            ys.append(x)
        fused = []
        for i in range(self.count(f"{name}.fuse_layers.")):
            total: Tensor | float = 0.0
            for j in range(len(ys)):
                x = ys[j]
                if self.gated:
                    x = x * torch.sigmoid(self.unit(f"{name}.att_layers.{i}.{j}", x))
                path = f"{name}.fuse_layers.{i}.{j}"
                if j > i:
                    x = self.enlarge(self.unit(path, x, relu=False), j - i, ys[i].shape)
                for k in range(i - j):
                    x = self.unit(f"{path}.{k}", x, stride=2, relu=k < i - j - 1)
                total = total + x
            fused.append(torch.as_tensor(total).clamp(min=0))
        return fused

    def stage(self, number: int, xs: list[Tensor]) -> list[Tensor]:
        for m in range(self.count(f"stage{number}.")):
            xs = self.hr_module(f"stage{number}.{m}", xs)
        return xs

    def head(self, name: str, xs: list[Tensor]) -> Tensor:
        x = torch.cat([xs[0]] + [self.resize(x, xs[0].shape) for x in xs[1:]], dim=1)
        return self.conv(f"{name}.3", self.unit(name, x))

    def transition(self, number: int, xs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        source, logits = xs[-1], []
        if self.gated:
            logits = [self.head(f"last_layer_stage{number}", xs)]
            score = logits[0]
            for k in range(number):
                score = self.unit(f"att{number}.{number}.{k}", score, stride=1 if k == 0 else 2)
            source = source * torch.sigmoid(score)
        new = self.unit(f"transition{number}.{number}.0", source, stride=2)
        return [*xs, new], logits

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the main logits, then those of stage 3 and stage 2 if there are any."""
        x = image
        for number in (1, 2):
            x = self.norm(f"bn{number}", self.conv(f"conv{number}", x, stride=2)).clamp(min=0)
        for k in range(self.count("layer1.")):
            x = self.bottleneck(f"layer1.{k}", x)
        xs = [self.unit("transition1.0", x), self.unit("transition1.1.0", x, stride=2)]
        xs, logits2 = self.transition(2, self.stage(2, xs))
        xs, logits3 = self.transition(3, self.stage(3, xs))
        xs = self.stage(4, xs)
        if self.pose:
            (finest,) = xs
            return [self.conv("final_layer", finest)]
        return [self.head("last_layer", xs), *logits3, *logits2]


def randomized(name: str, **options: object) -> HRNet:
    """Build a network whose weights and batch-norm statistics all matter, in float64."""
    torch.manual_seed(5)
    model = build_model(name, num_classes=5, **options).double().eval()
    for key, tensor in model.state_dict().items():
        if tensor.dim() == 4:
            tensor.normal_(std=(1.5 / tensor[0].numel()) ** 0.5)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif not key.endswith("num_batches_tracked"):
            tensor.normal_(std=0.5)
            if key.endswith("weight"):
                tensor.add_(1.0)
    return model


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", ["tiny", "w18-small-v1"])
@pytest.mark.parametrize("family", ["hrnetv2", "gsto-hrnet"])
def test_forward_equals_the_functional_one(family: str, size: str, align_corners: bool) -> None:
    model = randomized(f"{family}-{size}", align_corners=align_corners)
    image = torch.randn(2, 3, 67, 101, dtype=torch.float64)
    with torch.no_grad():
        ours = model(image)
        theirs = OfficialForward(to_official_keys(model), align_corners)(image)
    found = [ours.logits, *(ours.auxiliary[k] for k in ("stage3", "stage2") if ours.auxiliary)]
    assert len(found) == len(theirs) == (3 if family == "gsto-hrnet" else 1)
    for mine, other in zip(found, theirs, strict=True):
        assert mine.shape == (2, 5, 17, 26)
        scale = other.abs().max()
        assert 1e-3 < scale < 1e6
        torch.testing.assert_close(mine / scale, other / scale, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["hrnet-pose-tiny", "gsto-hrnet-pose-tiny"])
def test_heat_maps_equal_the_functional_ones(name: str) -> None:
    model = randomized(name)
    image = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        ours = model(image)
        theirs = OfficialForward(to_official_keys(model))(image)
    found = [ours.logits, *(ours.auxiliary[k] for k in ("stage3", "stage2") if ours.auxiliary)]
    assert len(found) == len(theirs) == (3 if name.startswith("gsto") else 1)
    for mine, other in zip(found, theirs, strict=True):
        assert mine.shape == (2, 5, 24, 16)
        scale = other.abs().max()
        assert 1e-3 < scale < 1e6
        torch.testing.assert_close(mine / scale, other / scale, atol=1e-10, rtol=0)


def test_every_weight_matters_in_the_functional_forward() -> None:
    """Guard of the test above: no key of the state dict is left unread by the functional road."""
    model = randomized("gsto-hrnet-tiny")
    state = {
        key: tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
        for key, tensor in to_official_keys(model).items()
    }
    outputs = OfficialForward(state)(torch.randn(1, 3, 64, 64, dtype=torch.float64))
    sum(output.pow(2).sum() for output in outputs).backward()
    unread = {key for key, tensor in state.items() if tensor.requires_grad and tensor.grad is None}
    assert {key.split(".")[0] for key in unread} == {"att1"}
