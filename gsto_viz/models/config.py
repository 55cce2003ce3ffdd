"""What distinguishes one network from another: typed, immutable, saved with every checkpoint."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.models.gates import check_form
from gsto_viz.settings import Rule, settle, shown, within, within_below

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

NETWORK_RULES = (
    *(
        Rule(name, f"it goes from 1 to {most}, a whole number", int, within(1, most))
        for name, most in {
            "width": 256,
            "stage1_blocks": 64,
            "stage1_planes": 1024,
            "blocks": 64,
            "num_classes": 254,
        }.items()
    ),
    Rule(
        "modules",
        f"give three counts from 1 to {MAX_MODULES}",
        tuple[int, int, int],
        lambda v, c: 1 <= min(v) <= max(v) <= MAX_MODULES,
    ),
    Rule("bn_momentum", "it is a number above 0 and at most 1", float, lambda v, c: 0 < v <= 1),
    Rule("head_dropout", "it is a number from 0 to below 1", float, within_below(0, 1)),
    Rule("align_corners", "it is true or false", bool),
    Rule("resize_mode", "it is a word", str),
    Rule(
        "gating",
        "give a mapping of its options, or null for none",
        holds=lambda v, c: v is None or isinstance(v, GatingConfig),
    ),
    Rule(
        "resize_mode",
        "choose bilinear or nearest",
        holds=lambda v, c: v in ("bilinear", "nearest"),
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
class HRNetConfig:
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
    gating: GatingConfig | None = field(default=None)

    def __post_init__(self) -> None:
        settle(self, NETWORK_RULES)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four branches: C, 2C, 4C, 8C."""
        return tuple(self.width * 2**r for r in range(4))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML; ``config_from_dict`` reads them back."""
        return asdict(self)

    def with_options(self, /, **options: Any) -> "HRNetConfig":
        """Return a copy with changed fields; unknown names are refused.

        Fields of the gating (``form``, ``diagonal``...) are given as ``gating={...}`` or as
        ``gate_form=...``, ``gate_diagonal=...`` and so on.
        """
        own = {f.name for f in fields(self)}
        gates = {f"gate_{f.name}": f.name for f in fields(GatingConfig)}
        _refuse_unknown("model option", options, "", [*sorted(own), *sorted(gates)])
        gate_options = {gates[k]: v for k, v in options.items() if k in gates}
        plain = {k: v for k, v in options.items() if k in own}
        if isinstance(plain.get("gating"), dict):
            plain["gating"] = GatingConfig(**_known(plain["gating"], GatingConfig))
        changed = replace(self, **plain)
        if gate_options:
            if changed.gating is None:
                raise GstoVizError(
                    f"{', '.join('gate_' + k for k in gate_options)}: this network has no gates"
                )
            changed = replace(changed, gating=replace(changed.gating, **gate_options))
        return changed


def _known(values: dict[str, Any], cls: type) -> dict[str, Any]:
    """Return ``values`` if all keys are fields of ``cls``; refuse them otherwise."""
    _refuse_unknown("key", values, f" in {cls.__name__}", sorted(f.name for f in fields(cls)))
    return values


def _refuse_unknown(what: str, given: Iterable[Any], where: str, names: list[str]) -> None:
    """Refuse names that are not among ``names``, with those closest to the first of them."""
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        hint = did_you_mean(unknown[0], names, otherwise=f"known: {', '.join(names)}")
        raise GstoVizError(f"unknown {what} {', '.join(unknown)}{where}; {hint}")


def config_from_dict(values: dict[str, Any]) -> HRNetConfig:
    """Read what ``HRNetConfig.to_dict`` gave.

    Raises:
        GstoVizError: No mapping, an unknown or a missing key, or a value that makes no network.
    """
    if not isinstance(values, dict):
        raise GstoVizError(f"{shown(values)} is no mapping of network options")
    known = dict(_known(values, HRNetConfig))
    if "width" not in known:
        raise GstoVizError("the network options have no width")
    if isinstance(known.get("gating"), dict):
        known["gating"] = GatingConfig(**_known(known["gating"], GatingConfig))
    return HRNetConfig(**known)
