"""What every network of the register has: a configuration, an anatomy, what its checkpoint says.

A new kind of network is a frozen dataclass made from :class:`NetworkConfig`, a module made from
:class:`SegmentationNetwork`, and a row of ``gsto_viz.models.registry``.
"""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, cast

from torch import Tensor, nn

from gsto_viz.anatomy import Anatomy
from gsto_viz.errors import GstoVizError, RefusedImageError, did_you_mean
from gsto_viz.gains import Gains
from gsto_viz.models.blocks import Equalizer, spatial_size
from gsto_viz.models.relation import Relation
from gsto_viz.settings import shown
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import ClassInfo, ClassList, Tap
from gsto_viz.words import first_few


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says about its network.

    Attributes:
        name: Shipped name, or the file's stem.
        network: Registered name of the architecture, e.g. ``hrnetv2-w18-small-v1``.
        classes: Classes of the logits.
        mean: Per-channel mean that images are normalised with, on a 0..1 scale, RGB order.
        std: Per-channel standard deviation, likewise.
        gains: Per-channel gains by tap, measured on training images; may be empty.
        notice: What a user must know before using the weights (licence of the data), or None.
        training: Recipe, data, seed, step, scores and versions of the run that made it.
        sha256: Of the file, None before it is saved.
    """

    name: str
    network: str
    classes: ClassList
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    gains: Mapping[str, Gains] = field(default_factory=dict)
    notice: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None


def generic_classes(count: int, names: Sequence[str] = ()) -> ClassList:
    """Return classes with distinct colours, numbered where there are no names."""
    classes = []
    for index in range(count):
        # Steps of the golden angle keep neighbouring indices far apart in hue.
        rgb = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.65, 0.95 if index % 2 else 0.7)
        red, green, blue = (round(255 * value) for value in rgb)
        name = names[index] if names else f"class {index}"
        classes.append(ClassInfo(index, name, (red, green, blue), thing=False))
    return ClassList("named" if names else "numbered", tuple(classes))


class SegmentationOutput(NamedTuple):
    """Result of a forward pass.

    Attributes:
        logits: (N, K, ceil(H/s), ceil(W/s)), before softmax; s is 8 in PPM and ASPP, else 4. Of a
            network for pose: K heat maps, one for each joint, whose targets have the peak 1.
        auxiliary: Logits of the deep-supervision heads by name, e.g. ``{"stage2": ...,
            "stage3": ...}``; of their own stride where they run in training only. Empty for
            HRNetV2.
    """

    logits: Tensor
    auxiliary: dict[str, Tensor]


class NetworkConfig:
    """What shapes a network; configurations are frozen dataclasses made from this.

    Attributes:
        task: What its logits are: classes of pixels (``segmentation``), or heat maps of joints
            (``pose``).
        num_classes: Channels K of the logits.
        align_corners: Corner convention of bilinear resizing.
        head_dropout: Probability with which training drops channels before the classifier.
        equalized: Whether equalizers stand in front of the concatenations of heads.
    """

    task: ClassVar[str] = "segmentation"
    num_classes: int
    align_corners: bool = False
    head_dropout: float = 0.0
    equalized: bool = False

    @property
    def classes(self) -> ClassList:
        """Classes of the logits as long as nothing else says them."""
        return generic_classes(self.num_classes)

    @property
    def gated(self) -> bool:
        """Whether there are gates in front of its transfers."""
        return False

    @property
    def least(self) -> tuple[int, int]:
        """How many tensors such a network has at least, and how many numbers its largest one."""
        return 1, self.num_classes

    def named(self, name: str) -> str:
        """Return what such a network is called: its name, and that it is equalized where it is."""
        return f"{name}, equalized" if self.equalized else name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML; ``from_dict`` reads them back."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read what ``to_dict`` gave.

        Raises:
            GstoVizError: No mapping, an unknown or a missing key, or a value that makes no network.
        """
        if not isinstance(values, dict):
            raise GstoVizError(f"{shown(values)} is not a mapping of network options")
        return cast(Self, read_options(cls, values))

    def with_options(self, /, **options: Any) -> Self:
        """Return a copy with changed fields.

        Raises:
            GstoVizError: An unknown name (the closest are given), or a value that makes no network.
        """
        check_names("model option", options, sorted(option_names(type(self))))
        return replace(self, **options)  # type: ignore[type-var]


def option_names(config: type) -> list[str]:
    """Return the names of a configuration's fields."""
    return [one.name for one in fields(config)]


def read_options(config: type[Any], values: dict[str, Any]) -> Any:
    """Make a configuration, or a part of one, of a mapping.

    Raises:
        GstoVizError: An unknown or a missing key, or a value that it cannot have.
    """
    check_names("key", values, sorted(option_names(config)), f" in {config.__name__}")
    missing = [
        one.name
        for one in fields(config)
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values
    ]
    if missing:
        raise GstoVizError(f"{config.__name__} has no {' and no '.join(missing)}; give it")
    return config(**values)


def check_names(what: str, given: Iterable[Any], names: list[str], where: str = "") -> None:
    """Refuse names that are not among ``names``, with those closest to the first of them."""
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        hint = did_you_mean(unknown[0], names, otherwise=f"known: {', '.join(names)}")
        raise GstoVizError(f"unknown {what} {', '.join(unknown)}{where}; {hint}")


MAX_LISTED = 5
"""Keys that a message lists before it counts the rest."""


def refuse_misfit(
    source: str, missing: Sequence[object], left_over: Sequence[object], reshaped: Sequence[object]
) -> None:
    """Raise with how many keys do not fit a network, and the first few of each kind, if any."""
    kinds = {"missing": missing, "left over": left_over, "of another shape": reshaped}
    problems = [f"{len(k)} {what} ({first_few(k, MAX_LISTED)})" for what, k in kinds.items() if k]
    if problems:
        raise GstoVizError(
            f"{source} does not fit this network: {'; '.join(problems)}; it belongs to another "
            "architecture or class count"
        )


def refuse_small(image: Tensor, stride: int, needs: Mapping[str, int]) -> None:
    """Refuse an image whose coarsest map has too few cells.

    Args:
        image: (N, 3, H, W).
        stride: Of the coarsest map, ceil(H / stride) x ceil(W / stride) cells.
        needs: Cells a side that it needs at least, by the reason.

    Raises:
        RefusedImageError: The greatest need and its reason.
    """
    height, width = spatial_size(image)
    rows, columns = -(-height // stride), -(-width // stride)
    what, least = max(needs.items(), key=lambda one: one[1])
    if min(rows, columns) < least:
        raise RefusedImageError(
            f"the image is {height}x{width} (height x width), {rows}x{columns} cells of stride "
            f"{stride}, and this network needs at least {least}x{least} ({what}); enlarge it"
        )


class SegmentationNetwork(nn.Module):
    """A network of the register.

    Its forward takes normalised images (N, 3, H, W) and returns a ``SegmentationOutput``.

    Attributes:
        config: What shapes it.
        info: What its checkpoint says (classes, normalisation, gains, training); None for a
            network that was built and not loaded.
        training_heads: Auxiliary heads that run in training only, and so are in no anatomy: the
            submodule of each by its name.
    """

    training_heads: Mapping[str, str] = MappingProxyType({})

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.info: ModelInfo | None = None
        self._anatomy: Anatomy | None = None

    def describe(self) -> Anatomy:
        """Make what this network says of itself; ``anatomy`` keeps it."""
        raise NotImplementedError

    def anatomy(self) -> Anatomy:
        """Return what this network says of itself; made once."""
        if self._anatomy is None:
            self._anatomy = self.describe()
        return self._anatomy

    def starts_small(self) -> tuple[nn.Conv2d, ...]:
        """Return the layers whose output is about 0 when training starts."""
        return ()

    @property
    def task(self) -> str:
        """``segmentation`` or ``pose``."""
        return self.config.task

    @property
    def architecture(self) -> str:
        """Registered name, else the class, and that it is equalized where it is."""
        return self.config.named(type(self).__name__ if self.info is None else self.info.network)

    @property
    def auxiliary_heads(self) -> tuple[str, ...]:
        """Names of the heads that need a loss weight beside the main one's."""
        return (*(name for name in self.anatomy().outputs if name != "main"), *self.training_heads)

    def taps(self) -> dict[str, Tap]:
        """Return every tap of this network by its name, in the order of computation."""
        return dict(self.anatomy().taps)

    def forget_training(self, note: str) -> None:
        """Drop what only holds for trained weights; ``note`` is added to the name."""
        if self.info is not None:
            name = f"{self.info.name} ({note})"
            self.info = replace(self.info, name=name, gains={}, training={}, sha256=None)


def task_of(module: nn.Module) -> str:
    """Return what a network is for; networks that do not say are for segmentation."""
    return module.task if isinstance(module, SegmentationNetwork) else NetworkConfig.task


def initialize(model: nn.Module, scheme: str) -> None:
    """Draw all convolution weights anew (from torch's global generator); batch norm becomes 1, 0.

    Args:
        model: Any network.
        scheme: ``normal``: N(0, 0.001), biases as torch draws them, as HRNet does for segmentation
            before it loads ImageNet weights. ``kaiming``: fan-out normal, biases 0, better when
            training starts from these weights; layers that are to start small are drawn as for
            ``normal``, with biases 0. Batch-norm statistics are reset, and so are
            equalizers, whose numbers held for other weights, and the embeddings of relations.
    """
    if scheme not in ("normal", "kaiming"):
        raise GstoVizError(f"unknown initialisation '{scheme}'; choose normal or kaiming")
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            module.reset_parameters()
            if scheme == "normal":
                nn.init.normal_(module.weight, std=0.001)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | Equalizer | Relation):
            module.reset_parameters()
    if scheme == "kaiming" and isinstance(model, SegmentationNetwork):
        for layer in model.starts_small():
            nn.init.normal_(layer.weight, std=0.001)
