"""The taps of our networks: contract names -> submodules, strides, channels."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from torch import nn

from gsto_viz.models.fusion import Fusion
from gsto_viz.models.gates import GatedScaleTransfer
from gsto_viz.types import Tap

if TYPE_CHECKING:
    from gsto_viz.models.hrnet import HRNet


def list_taps(model: "HRNet") -> dict[str, Tap]:
    """Return every tap of an HRNetV2 or GSTO-HRNet by name, in the order of computation."""
    taps = [
        Tap("stem", "stem", 4, 64, "feature"),
        Tap("stage1.branch0", "stage1", 4, model.config.stage1_planes * 4, "feature"),
        *_transition_taps(model, 1),
    ]
    for stage in (2, 3, 4):
        taps += _stage_taps(model, stage)
        if stage < 4:
            taps += _transition_taps(model, stage)
    taps.append(Tap("head.logits", "head", 4, model.config.num_classes, "logits"))
    return {tap.name: tap for tap in taps}


def _stage_taps(model: "HRNet", stage: int) -> Iterator[Tap]:
    modules: nn.Sequential = getattr(model, f"stage{stage}")
    widths = model.config.widths
    for m, (_, module) in enumerate(modules.named_children()):
        place = f"stage{stage}.m{m}"
        for r in range(stage):
            stride = 4 * 2**r
            yield Tap(
                f"{place}.branch{r}.pre", f"{place}.branches.{r}", stride, widths[r], "feature"
            )
        fusion = cast(Fusion, module.fusion)
        for key, transfer in fusion.transfers.items():
            if isinstance(transfer, GatedScaleTransfer):
                source, target = key.split("to")
                name = f"{place}.gate[{source}->{target}]"
                path = f"{place}.fusion.transfers.{key}.gate"
                yield Tap(name, path, 4 * 2 ** int(source), 1, "gate")
        for r in range(stage):
            path = f"{place}.fusion.targets.{r}"
            yield Tap(f"{place}.branch{r}", path, 4 * 2**r, widths[r], "feature")
    last = f"stage{stage}.m{len(modules) - 1}.fusion.targets"
    for r in range(stage):
        yield Tap(f"stage{stage}.branch{r}", f"{last}.{r}", 4 * 2**r, widths[r], "feature")


def _transition_taps(model: "HRNet", stage: int) -> Iterator[Tap]:
    transition = getattr(model, f"transition{stage}")
    if transition.predictor is not None:
        path = f"transition{stage}.predictor"
        yield Tap(f"head.stage{stage}", path, 4, model.config.num_classes, "logits")
    if transition.gate is not None:
        yield Tap(f"transition{stage}.gate", f"transition{stage}.gate", 2 ** (stage + 1), 1, "gate")
