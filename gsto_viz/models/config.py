"""What distinguishes one network from another: typed, immutable, saved with every checkpoint."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.models.gates import check_form

LIMITS = {
    "width": 256,
    "stage1_blocks": 64,
    "stage1_planes": 1024,
    "blocks": 64,
    "num_classes": 254,
}
"""Greatest values; several times the largest published network. 255 is the label of no class."""

MAX_MODULES = 64


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
        for name in ("fusion", "diagonal"):
            _check_bool(f"gating.{name}", getattr(self, name))
        for name in ("form", "source"):
            _check_word(f"gating.{name}", getattr(self, name))
        check_form(self.form)
        for name in ("supervised", "unsupervised", "auxiliary_heads"):
            stages = _whole_numbers(getattr(self, name))
            if stages is None or not set(stages) <= {1, 2, 3} or len(set(stages)) != len(stages):
                raise GstoVizError(
                    f"gating.{name} is {_shown(getattr(self, name))}; give a list of stages out of "
                    "1, 2, 3, each at most once"
                )
            object.__setattr__(self, name, stages)
        both = set(self.supervised) & set(self.unsupervised)
        if both:
            raise GstoVizError(
                f"stages {sorted(both)} are both supervised and unsupervised; choose one for each"
            )
        if self.source not in ("lowest", "concat"):
            raise GstoVizError(f"gating.source is '{self.source}'; choose lowest or concat")


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
        for name, greatest in LIMITS.items():
            value = _whole_number(getattr(self, name))
            if value is None or not 1 <= value <= greatest:
                raise GstoVizError(
                    f"{name} is {_shown(getattr(self, name))}; it goes from 1 to {greatest}, a "
                    "whole number"
                )
            object.__setattr__(self, name, value)
        modules = _whole_numbers(self.modules)
        if (
            modules is None
            or len(modules) != 3
            or not 1 <= min(modules) <= max(modules) <= MAX_MODULES
        ):
            raise GstoVizError(
                f"modules is {_shown(self.modules)}; give three counts from 1 to {MAX_MODULES}"
            )
        object.__setattr__(self, "modules", modules)
        for name, holds, expected in (
            ("bn_momentum", lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
            ("head_dropout", lambda v: 0 <= v < 1, "a number from 0 to below 1"),
        ):
            value = getattr(self, name)
            real = isinstance(value, Real) and not isinstance(value, bool)
            if not real or not holds(float(value)):
                raise GstoVizError(f"{name} is {_shown(value)}; it is {expected}")
            object.__setattr__(self, name, float(value))
        self._check_kinds()

    def _check_kinds(self) -> None:
        _check_bool("align_corners", self.align_corners)
        _check_word("resize_mode", self.resize_mode)
        if self.gating is not None and not isinstance(self.gating, GatingConfig):
            raise GstoVizError(
                f"gating is {_shown(self.gating)}; give a mapping of its options, or null for none"
            )
        if self.resize_mode not in ("bilinear", "nearest"):
            raise GstoVizError(f"resize_mode is '{self.resize_mode}'; choose bilinear or nearest")

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


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise GstoVizError(f"{name} is {_shown(value)}; it is true or false")


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise GstoVizError(f"{name} is {_shown(value)}; it is a word")


def _whole_number(value: object) -> int | None:
    """Return a whole number (also NumPy's) as int; None for everything else, bools included."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _whole_numbers(values: object) -> tuple[int, ...] | None:
    """Return a list or tuple of whole numbers as a tuple; None for everything else, texts too."""
    if not isinstance(values, (list, tuple)):
        return None
    numbers = [_whole_number(value) for value in values]
    return None if None in numbers else tuple(n for n in numbers if n is not None)


def _shown(value: object) -> str:
    """Return a value as it was written, tuples as lists; cut where it would fill the screen."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def config_from_dict(values: dict[str, Any]) -> HRNetConfig:
    """Read what ``HRNetConfig.to_dict`` gave.

    Raises:
        GstoVizError: No mapping, an unknown or a missing key, or a value that makes no network.
    """
    if not isinstance(values, dict):
        raise GstoVizError(f"{_shown(values)} is no mapping of network options")
    known = dict(_known(values, HRNetConfig))
    if "width" not in known:
        raise GstoVizError("the network options have no width")
    if isinstance(known.get("gating"), dict):
        known["gating"] = GatingConfig(**_known(known["gating"], GatingConfig))
    return HRNetConfig(**known)
