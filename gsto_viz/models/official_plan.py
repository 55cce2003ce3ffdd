"""Which key of an official file goes where, decided before anything is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.official_keys import (
    BACKBONE_PREFIXES,
    CLASSIFICATION_PREFIXES,
    dead_shapes,
    official_modules,
)
from gsto_viz.models.registry import some_keys

COUNTER = "num_batches_tracked"
FUSION_GATES = ".att_layers."


class ShapeMismatch(NamedTuple):
    """A key that file and network have in different shapes."""

    key: str
    file: tuple[int, ...]
    network: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.key} {list(self.file)} in the file, {list(self.network)} in the network"


@dataclass
class LoadPlan:
    """What to do with each key; made before anything is changed."""

    fitting: dict[str, str]
    """Official key -> our key."""
    missing: list[str]
    required: list[str]
    """The part of ``missing`` that a complete file has."""
    unexpected: list[str]
    ignored: list[str]
    dead: list[str]
    mismatch: list[ShapeMismatch]

    @classmethod
    def make(cls, model: HRNet, weights: Mapping[str, Tensor], *, backbone: bool) -> "LoadPlan":
        """Compare the keys and shapes of a file with those of a network."""
        own = model.state_dict()
        places, nameless = official_places(model)
        if backbone:
            nameless += [k for k in places if not k.startswith(BACKBONE_PREFIXES)]
            places = {k: v for k, v in places.items() if k.startswith(BACKBONE_PREFIXES)}
        dead = dead_shapes(model.config) if not backbone else {}
        shapes = {k: tuple(own[v].shape) for k, v in places.items()} | dead
        mismatch = [
            ShapeMismatch(k, tuple(weights[k].shape), shape)
            for k, shape in shapes.items()
            if k in weights and tuple(weights[k].shape) != shape
        ]
        wrong = {m.key for m in mismatch}
        missing = [k for k in places if k not in weights and not k.endswith(COUNTER)]
        unknown = [k for k in weights if k not in shapes]
        ignored = [k for k in unknown if backbone and _is_no_backbone(k)]
        return cls(
            fitting={k: v for k, v in places.items() if k in weights and k not in wrong},
            missing=missing + [k for k in nameless if not k.endswith(COUNTER)],
            required=[k for k in missing if not (backbone and FUSION_GATES in k)],
            unexpected=[k for k in unknown if k not in ignored],
            ignored=ignored,
            dead=[k for k in dead if k in weights and k not in wrong],
            mismatch=mismatch,
        )

    def refuse(self, what: str) -> None:
        """Raise with the first few keys of each kind if the file does not fit."""
        problems = [
            f"{len(keys)} {word} ({some_keys(keys)})"
            for word, keys in (
                ("missing", self.required),
                ("left over", self.unexpected),
                ("of another shape", self.mismatch),
            )
            if keys
        ]
        if problems:
            raise GstoVizError(
                f"{what} does not fit this network, keys: {'; '.join(problems)}; it belongs to "
                "another architecture or class count"
            )


def _is_no_backbone(key: str) -> bool:
    known = (*CLASSIFICATION_PREFIXES, "last_layer", "att1.", "att2.", "att3.")
    return key.startswith(known) or FUSION_GATES in key


def official_places(model: HRNet) -> tuple[dict[str, str], list[str]]:
    """Return official key -> our key of a network's state, and our keys without official name."""
    modules = official_modules(model.config)
    places, nameless = {}, []
    for key in model.state_dict():
        module, _, tensor = key.rpartition(".")
        if module in modules:
            places[f"{modules[module]}.{tensor}"] = key
        else:
            nameless.append(key)
    return places, nameless
