"""What distinguishes one network from another: typed, immutable, saved with every checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models.base import NetworkConfig, check_names, option_names, read_options
from gsto_viz.models.gates import GATE_FORMS, check_form
from gsto_viz.models.resnet import DILATED, STRIDES
from gsto_viz.settings import Rule, settle, within, within_below
from gsto_viz.types import ClassList

MAX_MODULES = 64

_STAGES = ("supervised", "unsupervised", "auxiliary_heads")

GATING_RULES = (
    *(Rule(name, "it is true or false", bool) for name in ("fusion", "diagonal")),
    *(Rule(name, "it is a word", str) for name in ("form", "source")),
    *(
        Rule(
            name,
            "give a list of stages out of 1, 2, 3, each at most once",
            tuple[int, ...],
            lambda v, c: set(v) <= {1, 2, 3} and len(set(v)) == len(v),
        )
        for name in _STAGES
    ),
    Rule("source", "choose lowest or concat", holds=lambda v, c: v in ("lowest", "concat")),
)

ATTENTION_FORMS = ("channel", "spatial")
ATTENTION_PLACES = ("block", "layer", "transfer")

ATTENTION_RULES = (
    Rule("form", "choose channel or spatial", str, lambda v, c: v in ATTENTION_FORMS),
    Rule("place", "choose block, layer or transfer", str, lambda v, c: v in ATTENTION_PLACES),
    Rule(
        "place",
        "spatial gates in front of transfers are those of gating; give it instead of attention",
        holds=lambda v, c: (c.form, v) != ("spatial", "transfer"),
    ),
    Rule("reduction", "it goes from 1 to 1024, a whole number", int, within(1, 1024)),
)


def _counts(**most: int) -> tuple[Rule, ...]:
    """Make rules of whole numbers from 1 to so many."""
    return tuple(
        Rule(name, f"it goes from 1 to {one}, a whole number", int, within(1, one))
        for name, one in most.items()
    )


COMMON_RULES = (
    *_counts(width=256, num_classes=254),
    Rule("bn_momentum", "it is a number above 0 and at most 1", float, lambda v, c: 0 < v <= 1),
    Rule("head_dropout", "it is a number from 0 to below 1", float, within_below(0, 1)),
    *(Rule(name, "it is true or false", bool) for name in ("align_corners", "equalized")),
)

RELATION_RULES = (
    *_counts(channels=4096, heads=64),
    Rule("window", "give an odd number from 1 to 15", int, lambda v, c: v in range(1, 16, 2)),
)

HEADS_FIT = Rule(
    "heads",
    "give a number whose double divides channels, which is {0.channels}",
    holds=lambda v, c: c.channels % (2 * v) == 0,
)
"""Of networks with relations: half the channels of each head are for rows, half for columns."""

NETWORK_RULES = (
    *COMMON_RULES,
    *_counts(stage1_blocks=64, stage1_planes=1024, blocks=64),
    Rule(
        "modules",
        f"give three counts from 1 to {MAX_MODULES}",
        tuple[int, int, int],
        lambda v, c: 1 <= min(v) <= max(v) <= MAX_MODULES,
    ),
    Rule("resize_mode", "it is a word", str),
    Rule(
        "gating",
        "give a mapping of its options, or null for none",
        holds=lambda v, c: v is None or isinstance(v, GatingConfig),
    ),
    Rule(
        "attention",
        "give a mapping of its options, or null for none",
        holds=lambda v, c: v is None or isinstance(v, AttentionConfig),
    ),
    Rule(
        "attention",
        lambda v, c: ".place is 'transfer', where the gates of gating.fusion stand; choose one",
        holds=lambda v, c: (
            v is None or v.place != "transfer" or c.gating is None or not c.gating.fusion
        ),
    ),
    Rule(
        "resize_mode", "choose bilinear or nearest", holds=lambda v, c: v in ("bilinear", "nearest")
    ),
)
"""Greatest values are several times the largest published network's. 255 is the label of no class.
"""


@dataclass(frozen=True)
class GatingConfig:
    """Where a GSTO-HRNet has gates and of which form. Defaults: what the paper's tables measure.

    Attributes:
        fusion: Gate the transfers of every fusion (the paper's GFM).
        diagonal: Gate the identity edge i -> i of a fusion too.
        form: ``released`` or ``paper``, for all gates (see ``gsto_viz.models.gates``).
        supervised: Stages 1..3 after which a supervised gate stands before the new branch (GTM).
        unsupervised: Stages 1..3 after which an unsupervised gate stands there.
        auxiliary_heads: Stages 1..3 with a deep-supervision head and no gate that reads it
            (the paper's Table 1, "w/ sup"); stages in ``supervised`` have one anyway.
        source: What the new branch is made from: ``lowest`` (the coarsest branch, as released) or
            ``concat`` (all branches brought to the coarsest grid, as the paper's text says).
    """

    fusion: bool = True
    diagonal: bool = True
    form: str = "released"
    supervised: tuple[int, ...] = (2, 3)
    unsupervised: tuple[int, ...] = ()
    auxiliary_heads: tuple[int, ...] = ()
    source: str = "lowest"

    def __post_init__(self) -> None:
        settle(self, GATING_RULES, "gating.")
        check_form(self.form)
        both = set(self.supervised) & set(self.unsupervised)
        if both:
            raise GstoVizError(
                f"stages {sorted(both)} are both supervised and unsupervised; choose one for each"
            )


@dataclass(frozen=True)
class AttentionConfig:
    """Where an HRNetV2 has attention, and of which form: the controls of GSTO's Table 3.

    The paper says "channel-wise" and "spatial-wise", "after each block" and "after each layer", and
    no more. The forms are our reconstruction, chosen among known ones by the costs it prints.

    Attributes:
        form: ``channel`` or ``spatial`` (``ChannelGate`` and ``SpatialGate`` of
            ``gsto_viz.models.gates``).
        place: ``block``: behind each branch of each module, in front of the fusion. ``layer``:
            behind each residual block of a branch. ``transfer``: in front of each transfer of each
            fusion, the identity edge i -> i among them; channel only.
        reduction: Of ``channel``: C channels are squeezed to C // reduction, at least one.
    """

    form: str
    place: str
    reduction: int = 16

    def __post_init__(self) -> None:
        settle(self, ATTENTION_RULES, "attention.")


class Part(NamedTuple):
    """Options of an ``HRNetConfig`` that stand together in a field of its own."""

    type: type[Any]
    prefix: str
    words: str


PARTS = {
    "gating": Part(GatingConfig, "gate_", "gates"),
    "attention": Part(AttentionConfig, "attention_", "attention"),
}
"""By the name of the field; either is None where a network has no such part."""


@dataclass(frozen=True)
class HRNetConfig(NetworkConfig):
    """Everything that shapes an HRNetV2 or GSTO-HRNet segmentation network.

    Attributes:
        width: Channels C of branch 0; branch r has C * 2**r.
        stage1_blocks: Bottleneck blocks in stage 1.
        stage1_planes: Their inner channels; stage 1 gives four times as many.
        modules: Modules in stages 2, 3 and 4.
        blocks: Residual blocks of each branch of a module.
        num_classes: Channels K of the logits.
        align_corners: Corner convention of bilinear resizing.
        resize_mode: ``bilinear`` or ``nearest``, inside fusions; heads always resize bilinearly.
        bn_momentum: Running-average momentum of batch norm (0.01 for segmentation, else 0.1).
        head_dropout: Probability with which training drops each channel before the classifier of
            the main head (``dropout2d``). Auxiliary heads have none: gates read their logits.
        gating: None for HRNetV2.
        attention: Of GSTO's Table 3, beside it or without; None for none.
        equalized: Whether equalizers stand in front of the concatenation of each head (see
            ``gsto_viz.models.equalizer``).
    """

    width: int
    stage1_blocks: int = 4
    stage1_planes: int = 64
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    num_classes: int = 19
    align_corners: bool = False
    resize_mode: str = "bilinear"
    bn_momentum: float = 0.01
    head_dropout: float = 0.0
    gating: GatingConfig | None = None
    equalized: bool = False
    attention: AttentionConfig | None = None

    def __post_init__(self) -> None:
        for name, part in PARTS.items():
            given = getattr(self, name)
            if isinstance(given, dict):
                object.__setattr__(self, name, read_options(part.type, given))
        settle(self, NETWORK_RULES)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML; attention is left out where there is none."""
        values = super().to_dict()
        if self.attention is None:
            # As files that were written before there was any.
            del values["attention"]
        return values

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four branches: C, 2C, 4C, 8C."""
        return tuple(self.width * 2**r for r in range(4))

    @property
    def gated(self) -> bool:
        """Whether there are gates in front of its transfers."""
        return self.gating is not None

    def gates_transfer(self, source: int, target: int) -> bool:
        """Whether something stands in front of the transfer source -> target of its fusions."""
        if self.attention is not None and self.attention.place == "transfer":
            return True
        gating = self.gating
        return gating is not None and gating.fusion and (gating.diagonal or source != target)

    def fuses(self, stage: int, module: int) -> bool:
        """Whether a module of a stage, counted from 0, ends in a fusion of all its branches."""
        return True

    @property
    def least(self) -> tuple[int, int]:
        """How many tensors such a network has at least, and how many numbers its largest one."""
        blocks = self.stage1_blocks + sum(self.modules) * self.blocks
        return blocks, max(*self.widths, self.stage1_planes, self.num_classes)

    def with_options(self, /, **options: Any) -> Self:
        """Return a copy with changed fields; unknown names are refused.

        Fields of the gating (``form``, ``diagonal``...) are given as ``gating={...}`` or as
        ``gate_form=...``, ``gate_diagonal=...`` and so on, those of the attention likewise.
        """
        names = {
            f"{part.prefix}{option}": (name, option)
            for name, part in PARTS.items()
            for option in option_names(part.type)
        }
        check_names("model option", options, [*sorted(option_names(type(self))), *sorted(names)])
        changed = replace(self, **{k: v for k, v in options.items() if k not in names})
        for name, part in PARTS.items():
            given = {
                names[k][1]: v for k, v in options.items() if k in names and names[k][0] == name
            }
            if given:
                changed = replace(changed, **{name: _changed_part(changed, name, part, given)})
        return changed


@dataclass(frozen=True)
class RelationHRNetConfig(HRNetConfig):
    """Everything that shapes an HRNet whose four branches enter RSP.

    Attributes:
        channels: Of each map of RSP, and of what the classifier reads.
        heads: Of each relation.
        window: Cells a side of what a pixel chooses from.
    """

    channels: int = 128
    heads: int = 4
    window: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, (*RELATION_RULES, HEADS_FIT))

    @property
    def least(self) -> tuple[int, int]:
        """How many tensors such a network has at least, and how many numbers its largest one."""
        count, largest = super().least
        return count, max(largest, self.channels)


POSE_HEADS = ("fusion", "concat")


def _needs_concat(setting: str, what: str, holds: Callable[[Any], bool]) -> Rule:
    """Make a rule of a setting that holds for the head ``concat`` whatever its value."""
    return Rule(
        setting,
        lambda v, c: f": {what}; give head: concat",
        holds=lambda v, c: c.head == "concat" or holds(v),
    )


POSE_RULES = (
    Rule("head", "choose fusion or concat", str, lambda v, c: v in POSE_HEADS),
    _needs_concat("gating", "the head 'fusion' has no gates", lambda v: v is None),
    _needs_concat(
        "attention",
        "the head 'fusion' has none in front of its transfers",
        lambda v: v is None or v.place != "transfer",
    ),
    _needs_concat("equalized", "the head 'fusion' concatenates nothing", lambda v: not v),
)


@dataclass(frozen=True)
class PoseHRNetConfig(HRNetConfig):
    """Everything that shapes an HRNet whose logits are heat maps of a person's joints.

    Attributes:
        num_classes: Joints.
        resize_mode: As in ``HRNetConfig``.
        head: ``fusion``: the last fusion leads to branch 0 alone, and one 1x1 convolution reads it
            (the official pose HRNet). ``concat``: as for segmentation (GSTO-HRNet).
    """

    task: ClassVar[str] = "pose"
    num_classes: int = len(COCO_JOINTS)
    resize_mode: str = "nearest"
    bn_momentum: float = 0.1
    head: str = "fusion"

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, POSE_RULES)

    @property
    def classes(self) -> ClassList:
        """COCO's joints where there are so many."""
        return COCO_JOINTS.classes if self.num_classes == len(COCO_JOINTS) else super().classes

    def fuses(self, stage: int, module: int) -> bool:
        """Whether a module of a stage ends in a fusion; the last one may leave it to the head."""
        return self.head == "concat" or (stage, module) != (4, self.modules[-1] - 1)


def _changed_part(config: HRNetConfig, name: str, part: Part, given: dict[str, Any]) -> Any:
    """Return a part of a configuration with changed options."""
    before = getattr(config, name)
    if before is None:
        options = ", ".join(f"{part.prefix}{option}" for option in given)
        raise GstoVizError(f"{options}: this network has no {part.words}")
    return replace(before, **given)


class HeadKind(NamedTuple):
    """A row of the register of heads.

    Attributes:
        words: What a network with it is.
        strides: Of the four stages of its ResNet.
        pools: What C5 is averaged to: ``bins``, ``image`` (one cell) or nothing.
        rated: Whether convolutions at several dilation rates read C5.
        separable: Whether these are separable.
        keeps: Whether C5 itself is concatenated with its scales.
        first: Number of the first scale's branch.
        fuses: Sides of the convolutions behind that concatenation.
        gated: Whether there may be gates in front of the scales, and a predictor.
        relates: Whether pixels choose from a window of the next coarser stage.
    """

    words: str
    strides: tuple[int, ...]
    pools: str = ""
    rated: bool = False
    separable: bool = False
    keeps: bool = False
    first: int = 1
    fuses: tuple[int, ...] = ()
    gated: bool = False
    relates: bool = False


HEADS = {
    "ppm": HeadKind(
        "pyramid pooling (PSPNet's PPM) on a dilated ResNet",
        DILATED,
        pools="bins",
        keeps=True,
        fuses=(3,),
        gated=True,
    ),
    "aspp": HeadKind(
        "atrous pyramid pooling (DeepLabV3's ASPP) on a dilated ResNet",
        DILATED,
        pools="image",
        rated=True,
        first=0,
        fuses=(1, 3),
        gated=True,
    ),
    "upernet": HeadKind(
        "UPerNet: pyramid pooling on a ResNet, added to its finer stages from coarse to fine",
        STRIDES,
        pools="bins",
        keeps=True,
        fuses=(3,),
    ),
    "deeplabv3plus": HeadKind(
        "DeepLabV3+: separable ASPP on a dilated ResNet, beside its features of stride 4",
        DILATED,
        pools="image",
        rated=True,
        separable=True,
        fuses=(3,),
    ),
    "fcn": HeadKind(
        "FCN: the four stages of a ResNet, concatenated at stride 4 as HRNetV2's branches are",
        STRIDES,
    ),
    "rsp": HeadKind(
        "RSP: each pixel of a stage of a ResNet chooses from the coarser one; our reconstruction",
        STRIDES,
        relates=True,
    ),
}
"""Every decode head by its name; ``gsto_viz.models.heads`` makes them."""

PYRAMID_GATES = ("none", "unsupervised", "supervised")

PYRAMID_RULES = (
    Rule("module", "choose {0.modules}", str, lambda v, c: v in HEADS),
    *COMMON_RULES,
    *_counts(low_channels=4096),
    *RELATION_RULES,
    Rule(
        "blocks",
        "give four counts from 1 to 64",
        tuple[int, int, int, int],
        lambda v, c: 1 <= min(v) <= max(v) <= 64,
    ),
    Rule(
        "bins",
        "give different whole numbers from 1 to 64: cells a side of each pooled map",
        tuple[int, ...],
        lambda v, c: 0 < len(set(v)) == len(v) and 1 <= min(v) <= max(v) <= 64,
    ),
    Rule(
        "bins",
        "a pyramid whose pooled maps all have one cell cannot tell places apart; give one above 1",
        holds=lambda v, c: c.kind.pools != "bins" or max(v) > 1,
    ),
    Rule(
        "rates",
        "give different whole numbers from 2 to 256: dilation rates",
        tuple[int, ...],
        lambda v, c: 0 < len(set(v)) == len(v) and 2 <= min(v) <= max(v) <= 256,
    ),
    *(Rule(name, "it is true or false", bool) for name in ("bottleneck", "deep_supervision")),
    Rule("gates", "choose none, unsupervised or supervised", str, lambda v, c: v in PYRAMID_GATES),
    Rule("gate_form", "choose released or paper", str, lambda v, c: v in GATE_FORMS),
    Rule(
        "gates",
        "{0.module} has no gates; choose none",
        holds=lambda v, c: v == "none" or c.kind.gated,
    ),
    Rule(
        "deep_supervision",
        "{0.module} has no predictor; choose false",
        holds=lambda v, c: not v or c.kind.gated,
    ),
)


@dataclass(frozen=True)
class PyramidConfig(NetworkConfig):
    """Everything that shapes a ResNet with a decode head; defaults: on ResNet-50.

    Attributes:
        module: A head out of ``HEADS``.
        blocks: Residual blocks of the four stages of the ResNet.
        width: Channels of its stem.
        bottleneck: Whether its blocks are bottlenecks.
        channels: Of each scale, and of what the classifier reads.
        low_channels: DeepLabV3+: of the features of stride 4 that its classifier reads, too.
        bins: PPM, UPerNet: cells a side of each pooled map.
        rates: ASPP, DeepLabV3+: dilation rate of each 3x3 convolution; a 1x1 convolution and the
            mean over the image stand beside them.
        heads: RSP: heads of each relation.
        window: RSP: cells a side of what a pixel chooses from.
        num_classes: Channels K of the logits.
        align_corners: Corner convention of bilinear resizing.
        bn_momentum: Running-average momentum of batch norm.
        head_dropout: Probability with which training drops each channel before the classifier.
        gates: PPM, ASPP: in front of every transfer: ``none``, ``unsupervised`` or ``supervised``.
        gate_form: ``paper`` or ``released`` (see ``gsto_viz.models.gates``).
        deep_supervision: Whether there is a predictor without supervised gates, too.
        equalized: Whether equalizers stand in front of each concatenation (see
            ``gsto_viz.models.equalizer``).
    """

    module: str
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    channels: int = 512
    low_channels: int = 48
    bins: tuple[int, ...] = (1, 2, 3, 6)
    rates: tuple[int, ...] = (12, 24, 36)
    heads: int = 4
    window: int = 3
    num_classes: int = 19
    align_corners: bool = False
    bn_momentum: float = 0.1
    head_dropout: float = 0.1
    gates: str = "none"
    gate_form: str = "released"
    deep_supervision: bool = False
    equalized: bool = False

    def __post_init__(self) -> None:
        settle(self, PYRAMID_RULES)
        if self.kind.relates:
            settle(self, (HEADS_FIT,))

    @property
    def modules(self) -> str:
        """The heads that there are, in words."""
        *others, last = HEADS
        return f"{', '.join(others)} or {last}"

    @property
    def kind(self) -> HeadKind:
        """The row of its head."""
        return HEADS[self.module]

    @property
    def gated(self) -> bool:
        """Whether there are gates in front of its transfers."""
        return self.gates != "none"

    @property
    def least(self) -> tuple[int, int]:
        """How many tensors such a network has at least, and how many numbers its largest one."""
        return sum(self.blocks), max(self.width, self.channels, self.num_classes)

    @property
    def predicts(self) -> bool:
        """Whether there is a predictor."""
        return self.deep_supervision or self.gates == "supervised"

    @property
    def reaches(self) -> tuple[int, ...]:
        """Dilation rates of the convolutions of C5, the 1x1 one first; empty without."""
        return (1, *sorted(self.rates)) if self.kind.rated else ()

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells a side of the pooled maps of C5, the finest first; empty without."""
        return {"": (), "image": (1,), "bins": tuple(sorted(self.bins, reverse=True))}[
            self.kind.pools
        ]
