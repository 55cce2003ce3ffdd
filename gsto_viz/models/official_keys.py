"""The names of the official HRNet and GSTO layouts <-> the names of our submodules.

HRNet for segmentation, HRNet for ImageNet, timm and GSTO share one naming of the backbone. The
official words (``layer1``, ``fuse_layers``, ``att_layers``, ``last_layer``) stay in this module.
"""

from collections.abc import Iterator

from gsto_viz.errors import GstoVizError
from gsto_viz.models.config import GatingConfig, HRNetConfig

BACKBONE_PREFIXES = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
"""What ImageNet files share with segmentation files."""

CLASSIFICATION_PREFIXES = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
"""The ImageNet head, of no use to segmentation."""

DEAD_PREFIX = "att1."
"""A gate unit that the released GSTO network allocates and never calls."""


def official_modules(config: HRNetConfig) -> dict[str, str]:
    """Return our submodule -> its official name, for all that have weights and such a name.

    Gates of the paper form and unsupervised gates of transitions have no official counterpart and
    are left out.
    """
    names: dict[str, str] = {}
    for part in (_stem, _transitions, _stages, _heads):
        names.update(part(config))
    return names


def check_official_layout(config: HRNetConfig) -> None:
    """Refuse a network that the official layouts have no names for.

    Raises:
        GstoVizError: Which gating options differ from the released GSTO-HRNet.
    """
    if config.gating is None:
        return
    released = GatingConfig()
    apart = [
        f"{name}={getattr(config.gating, name)!r}"
        for name in ("fusion", "diagonal", "form", "unsupervised", "auxiliary_heads", "source")
        if getattr(config.gating, name) != getattr(released, name)
    ]
    if set(config.gating.supervised) != set(released.supervised):
        apart.append(f"supervised={config.gating.supervised!r}")
    if apart:
        raise GstoVizError(
            f"the official layout has no such gates ({', '.join(apart)}); it holds plain HRNetV2 "
            "and GSTO-HRNet as released, with the default gating"
        )


def dead_shapes(config: HRNetConfig) -> dict[str, tuple[int, ...]]:
    """Return official key -> shape of the dead unit of a released GSTO file; empty for HRNetV2."""
    if config.gating is None:
        return {}
    unit = f"{DEAD_PREFIX}1.0"
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{unit}.0.weight": (1, config.num_classes, 3, 3),
        **{f"{unit}.1.{name}": (1,) for name in vectors},
        f"{unit}.1.num_batches_tracked": (),
    }


def _unit(ours: str, official: str) -> Iterator[tuple[str, str]]:
    """Name a convolution with batch norm, which is a sequence ``0, 1`` officially."""
    yield f"{ours}.conv", f"{official}.0"
    yield f"{ours}.bn", f"{official}.1"


def _stem(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    for number in (1, 2):
        yield f"stem.unit{number}.conv", f"conv{number}"
        yield f"stem.unit{number}.bn", f"bn{number}"
    for block in range(config.stage1_blocks):
        for number in (1, 2, 3):
            for layer in ("conv", "bn"):
                yield f"stage1.{block}.{layer}{number}", f"layer1.{block}.{layer}{number}"
    # The first block widens; its shortcut exists where stem and stage 1 differ in channels, and
    # names without a submodule are harmless.
    yield from _unit("stage1.0.shortcut", "layer1.0.downsample")


def _transitions(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    yield from _unit("transition1.keep", "transition1.0")
    gating = config.gating
    for stage in (1, 2, 3):
        yield from _unit(f"transition{stage}.new_branch", f"transition{stage}.{stage}.0")
        if gating is not None and gating.form == "released" and stage in gating.supervised:
            for step in range(stage):
                ours = f"transition{stage}.gate.score.{step}"
                yield from _unit(ours, f"att{stage}.{stage}.{step}")


def _stages(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    for stage, count in zip((2, 3, 4), config.modules, strict=True):
        for m in range(count):
            ours, official = f"stage{stage}.m{m}", f"stage{stage}.{m}"
            for branch in range(stage):
                for block in range(config.blocks):
                    place = f"branches.{branch}.{block}"
                    for layer in ("conv1", "bn1", "conv2", "bn2"):
                        yield f"{ours}.{place}.{layer}", f"{official}.{place}.{layer}"
            for target in range(stage):
                for source in range(stage):
                    yield from _transfer(ours, official, source, target, config.gating)


def _transfer(
    ours: str, official: str, source: int, target: int, gating: GatingConfig | None
) -> Iterator[tuple[str, str]]:
    """Name the weights of transfer source -> target; officially the target comes first."""
    place = f"{ours}.fusion.transfers.{source}to{target}"
    gated = gating is not None and gating.fusion and (gating.diagonal or source != target)
    if gated and gating is not None and gating.form == "released":
        yield from _unit(f"{place}.gate.score", f"{official}.att_layers.{target}.{source}")
    convs = f"{place}.transfer.convs" if gated else f"{place}.convs"
    fuse = f"{official}.fuse_layers.{target}.{source}"
    if source > target:
        yield from _unit(convs, fuse)
    for step in range(target - source):
        yield from _unit(f"{convs}.{step}", f"{fuse}.{step}")


def _heads(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    heads = {"head": "last_layer"}
    if config.gating is not None:
        stages = {*config.gating.supervised, *config.gating.auxiliary_heads}
        heads |= {f"transition{s}.predictor": f"last_layer_stage{s}" for s in sorted(stages)}
    for ours, official in heads.items():
        for layer, place in (("conv", 0), ("bn", 1), ("classifier", 3)):
            yield f"{ours}.{layer}", f"{official}.{place}"
