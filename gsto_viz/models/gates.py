"""Gates on scale transfers: GSTO, arXiv:2005.13363, Eq. 4 to 6, and the form that was released.

A gate is a map g of one value per position, broadcast over channels, that multiplies a feature in
front of a transfer: F' = ST(conv(g * F)). Two forms exist, and they differ in their range:

``paper``
    g = sigmoid(conv1x1(.)) with a bias, in (0, 1).
``released``
    g = sigmoid(ReLU(BN(conv(.)))), in [0.5, 1): it cannot close. This is the form that reproduces
    the figures of the paper's tables.

The ranges hold up to rounding: in float32 a sigmoid is exactly 1 from a score of about 17 on.

``ChannelGate`` and ``SpatialGate`` are the attention that the paper's Table 3 sets beside them, in
(0, 1). The paper names neither: they are our reconstruction.
"""

import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.models.blocks import ConvBN

GATE_FORMS = ("released", "paper")


def check_form(form: str) -> None:
    """Refuse a gate form other than ``released`` and ``paper``."""
    if form not in GATE_FORMS:
        raise GstoVizError(f"unknown gate form '{form}'; choose one of {', '.join(GATE_FORMS)}")


def gate_range(form: str) -> tuple[float, float]:
    """Return the infimum and supremum of a gate's values: (0, 1) paper, (0.5, 1) released.

    Values are in (0, 1) or [0.5, 1) up to rounding, which can give the ends themselves.
    """
    check_form(form)
    return (0.0, 1.0) if form == "paper" else (0.5, 1.0)


def _check_count(what: str, value: int, lowest: int) -> None:
    """Refuse anything but a whole number from ``lowest`` on; torch would fail later and darkly."""
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise GstoVizError(f"{what} of a gate is {value!r}; give a whole number, at least {lowest}")


class UnsupervisedGate(nn.Module):
    """Gate computed from the feature that it gates (Eq. 4): (N, C, h, w) -> (N, 1, h, w).

    Args:
        channels: Channels C of the gated feature.
        form: ``paper`` or ``released`` (module docstring).
        bn_momentum: Momentum of the batch norm in the released form.

    Raises:
        GstoVizError: ``channels`` is not a whole number from 1 on, or the form is unknown.
    """

    def __init__(self, channels: int, *, form: str = "released", bn_momentum: float = 0.01) -> None:
        super().__init__()
        check_form(form)
        _check_count("channels", channels, 1)
        self.form = form
        self.score: nn.Module = (
            nn.Conv2d(channels, 1, 1, bias=True)
            if form == "paper"
            else ConvBN(channels, 1, kernel_size=1, bn_momentum=bn_momentum)
        )
        self.activation = nn.Sigmoid()

    def forward(self, feature: Tensor) -> Tensor:
        """Return the gate map of ``feature``."""
        gate: Tensor = self.activation(self.score(feature))
        return gate


class SupervisedGate(nn.Module):
    """Gate computed from the class logits P of an auxiliary head (Eq. 5 and 6).

    P has stride 4; the gated branch lies ``steps`` octaves below it.

    ``released``: a 3x3 convolution K -> 1 at stride 1, then ``steps`` 3x3 convolutions 1 -> 1 at
    stride 2, each with batch norm and ReLU; sigmoid after the last.

    ``paper``: Eq. 6 on P at its own resolution, then 2x2 average pooling ``steps`` times (clipped
    cells average what they have). The paper does not say how the gate reaches the grid of the
    branch; pooling is this project's choice. Predictor, gated branch and edges are as released, so
    that only the gate's form differs.

    P enters as raw logits (no softmax) and is not detached, as released: the main loss reaches the
    auxiliary head through the gate.

    Raises:
        GstoVizError: ``num_classes`` is not a whole number from 1 on, ``steps`` not one from 0 on,
            or the form is unknown.
    """

    def __init__(
        self, num_classes: int, steps: int, *, form: str = "released", bn_momentum: float = 0.01
    ) -> None:
        super().__init__()
        check_form(form)
        _check_count("num_classes", num_classes, 1)
        _check_count("steps", steps, 0)
        self.form = form
        if form == "paper":
            self.score: nn.Module = nn.Conv2d(num_classes, 1, 1, bias=True)
            pools = [nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) for _ in range(steps)]
            self.to_branch: nn.Module = nn.Sequential(*pools)
        else:
            chain = [ConvBN(num_classes, 1, bn_momentum=bn_momentum)]
            chain += [ConvBN(1, 1, stride=2, bn_momentum=bn_momentum) for _ in range(steps)]
            self.score = nn.Sequential(*chain)
            self.to_branch = nn.Identity()
        self.activation = nn.Sigmoid()

    def forward(self, logits: Tensor) -> Tensor:
        """(N, K, h, w) at stride 4 -> (N, 1, ceil(h / 2**steps), ceil(w / 2**steps))."""
        gate: Tensor = self.to_branch(self.activation(self.score(logits)))
        return gate


class ChannelGate(nn.Module):
    """One value per channel: (N, C, h, w) -> (N, C, 1, 1).

    Squeeze and excitation (arXiv:1709.01507): the mean of each channel, a 1x1 convolution to
    C // ``reduction`` channels but at least one, ReLU, a 1x1 convolution back, sigmoid. Without
    biases: so it has the parameters that GSTO's Table 3 prints. Where one channel is left and its
    ReLU gives 0 for every image, the gate is 0.5 and learns nothing.

    Raises:
        GstoVizError: ``channels`` or ``reduction`` is not a whole number from 1 on.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        _check_count("channels", channels, 1)
        _check_count("reduction", reduction, 1)
        self.channels = channels
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.relu = nn.ReLU()
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)
        self.activation = nn.Sigmoid()

    def forward(self, feature: Tensor) -> Tensor:
        """Return the gate of each channel of ``feature``."""
        squeezed = self.relu(self.squeeze(feature.mean(dim=(2, 3), keepdim=True)))
        gate: Tensor = self.activation(self.excite(squeezed))
        return gate


class SpatialGate(nn.Module):
    """One value per position, of all channels: (N, C, h, w) -> (N, 1, h, w).

    The spatial half of CBAM (arXiv:1807.06521): the maximum and the mean over channels, a 7x7
    convolution of both without bias, sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.activation = nn.Sigmoid()

    def forward(self, feature: Tensor) -> Tensor:
        """Return the gate map of ``feature``."""
        seen = torch.cat([feature.amax(1, keepdim=True), feature.mean(1, keepdim=True)], dim=1)
        gate: Tensor = self.activation(self.score(seen))
        return gate


class GatedScaleTransfer(nn.Module):
    """Put a gate in front of any scale transfer: ``transfer(g * x, ...)`` (Eq. 3).

    Plug-and-play: ``transfer`` is any module that takes a feature first; whatever else it takes is
    passed on. The gate reads the feature itself, or ``evidence`` where that is given (the logits
    of a supervised gate).

    Args:
        transfer: The transfer as it would be without a gate.
        gate: Module that returns (N, 1, h, w) or (N, C, 1, 1) for a feature or evidence.

    Example:
        >>> import torch
        >>> pool = GatedScaleTransfer(nn.AvgPool2d(2), UnsupervisedGate(8, form="paper"))
        >>> pool(torch.ones(1, 8, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, transfer: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.transfer = transfer
        self.gate = gate

    @property
    def carrier(self) -> nn.Module:
        """What the gated feature enters."""
        return self.transfer

    def source(self, x: Tensor) -> Tensor:
        """Return what is gated: the feature itself."""
        return x

    def forward(self, x: Tensor, *args: object, evidence: Tensor | None = None) -> Tensor:
        """Gate ``x`` (N, C, h, w) and transfer it."""
        gate = self.gate(x if evidence is None else evidence)
        moved: Tensor = self.transfer(x * gate, *args)
        return moved
