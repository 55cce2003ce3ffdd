"""Networks for tests."""

from torch import nn

from gsto_viz.models.relation import Relation


def enliven(model: nn.Module) -> None:
    """Let batch norms and embeddings, neutral at first, do something; torch draws them."""
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            for tensor in (one.weight, one.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (one.bias, one.running_mean):
                nn.init.normal_(tensor, std=0.3)
        elif isinstance(one, Relation):
            nn.init.normal_(one.rows)
            nn.init.normal_(one.columns)
