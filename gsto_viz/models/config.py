"""What distinguishes one network from another: typed, immutable, saved with every checkpoint."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.models.gates import check_form


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
        check_form(self.form)
        for name in ("supervised", "unsupervised", "auxiliary_heads"):
            stages = tuple(int(s) for s in getattr(self, name))
            object.__setattr__(self, name, stages)
            if not set(stages) <= {1, 2, 3} or len(set(stages)) != len(stages):
                raise GstoVizError(f"gating.{name} is {list(stages)}; give stages out of 1, 2, 3")
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
    gating: GatingConfig | None = field(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", tuple(int(m) for m in self.modules))
        if len(self.modules) != 3 or min(self.modules) < 1:
            raise GstoVizError(f"modules is {list(self.modules)}; give three counts of at least 1")
        if min(self.width, self.stage1_blocks, self.stage1_planes, self.blocks) < 1:
            raise GstoVizError("width, stage1_blocks, stage1_planes and blocks are at least 1")
        if not 1 <= self.num_classes <= 254:
            raise GstoVizError(f"num_classes is {self.num_classes}; it goes from 1 to 254")
        if self.resize_mode not in ("bilinear", "nearest"):
            raise GstoVizError(f"resize_mode is '{self.resize_mode}'; choose bilinear or nearest")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four branches: C, 2C, 4C, 8C."""
        return tuple(self.width * 2**r for r in range(4))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML; ``config_from_dict`` reads them back."""
        return asdict(self)

    def with_options(self, **options: Any) -> "HRNetConfig":
        """Return a copy with changed fields; unknown names are refused.

        Fields of the gating (``form``, ``diagonal``...) are given as ``gating={...}`` or as
        ``gate_form=...``, ``gate_diagonal=...`` and so on.
        """
        own = {f.name for f in fields(self)}
        gates = {f"gate_{f.name}": f.name for f in fields(GatingConfig)}
        unknown = sorted(set(options) - own - set(gates))
        if unknown:
            raise GstoVizError(
                f"unknown model option {', '.join(unknown)}; known: {', '.join(sorted(own))}, "
                f"{', '.join(sorted(gates))}"
            )
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
    names = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise GstoVizError(
            f"unknown key {', '.join(unknown)} in {cls.__name__}; known: {', '.join(sorted(names))}"
        )
    return values


def config_from_dict(values: dict[str, Any]) -> HRNetConfig:
    """Read what ``HRNetConfig.to_dict`` gave; unknown keys are refused."""
    known = dict(_known(values, HRNetConfig))
    if isinstance(known.get("gating"), dict):
        known["gating"] = GatingConfig(**_known(known["gating"], GatingConfig))
    return HRNetConfig(**known)
