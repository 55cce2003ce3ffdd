"""Networks for tests."""

from torch import nn


def enliven(model: nn.Module) -> None:
    """Let batch norms do something, drawn from torch's generator; fresh ones pass maps through."""
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            for tensor in (one.weight, one.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (one.bias, one.running_mean):
                nn.init.normal_(tensor, std=0.3)
