"""Look at one image through one network: prediction, branch and gate maps, one forward pass."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gsto_viz.capture import Capture, Maps
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import predict
from gsto_viz.gains import Gains
from gsto_viz.models.gates import gate_range
from gsto_viz.models.hrnet import HRNet
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Inspection

DEFAULT_SITE = "stage4.branch*"
"""The branches after the last fusion: what the paper draws."""
LOGITS = "head.logits"


def inspect_image(
    model: HRNet,
    image: npt.NDArray[np.uint8],
    *,
    gains: Mapping[str, Gains] | None = None,
    site: str = DEFAULT_SITE,
    logits: bool = False,
) -> Inspection:
    """Run a network on one image and keep what its branches and gates show.

    Args:
        model: An HRNetV2 or GSTO-HRNet that was loaded from a checkpoint.
        image: (H, W, 3) uint8 sRGB, H and W at least 32.
        gains: Per-channel gains by tap; None takes those of the checkpoint.
        site: Pattern of the branch taps.
        logits: Keep the logits on the grid of the head, too.

    Raises:
        GstoVizError: The network has no gains (``calibrate`` measures them) or no such taps.
    """
    info = model.info
    if info is None:
        raise GstoVizError("this network was not loaded from a checkpoint; load_model loads one")
    known = info.gains if gains is None else gains
    if not known:
        raise GstoVizError(
            f"{info.name} has no per-channel gains and its maps would be arbitrary; measure them "
            "with gsto_viz.calibrate.calibrate and give them as gains="
        )
    all_taps = model.taps()
    gate_taps = [name for name, tap in all_taps.items() if tap.kind == "gate"]
    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        raw = stack.enter_context(Capture(model, site, reduce="mean"))
        fixed = stack.enter_context(Capture(model, site, reduce="gain_fixed", gains=known))
        gates = stack.enter_context(Capture(model, gate_taps)) if gate_taps else None
        scores = stack.enter_context(Capture(model, LOGITS, reduce="none")) if logits else None
        prediction = predict(model, image)
    strides = tuple(all_taps[name].stride for name in raw)
    gating = model.config.gating
    return Inspection(
        name=info.name,
        network=info.network,
        strides=strides,
        prediction=prediction,
        raw=_first_image(raw),
        activity=_first_image(fixed),
        gates={} if gates is None else dict(zip(gates, _first_image(gates), strict=True)),
        gate_range=None if gating is None or not gate_taps else gate_range(gating.form),
        site=site,
        logits=None if scores is None else _first_image(scores)[0],
        align_corners=model.config.align_corners,
    )


def _first_image(maps: Maps) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the maps of a batch of one, in the order of the network."""
    return tuple(m[0].to("cpu").float().numpy() for m in maps.values())


def check_pair(a: HRNet, b: HRNet) -> None:
    """Refuse to compare networks of different classes.

    Raises:
        GstoVizError: With both lists of names.
    """
    if a.info is None or b.info is None:
        raise GstoVizError("both networks must come from checkpoints")
    if a.info.classes.names != b.info.classes.names:
        raise GstoVizError(
            f"A ({a.info.name}) knows {', '.join(a.info.classes.names)} and B ({b.info.name}) "
            f"knows {', '.join(b.info.classes.names)}; compare networks of the same classes"
        )


def weights_record(model: HRNet) -> dict[str, str | None]:
    """Return what a manifest says about a network: name, architecture, SHA-256 of its file."""
    if model.info is None:
        return {"name": None, "network": None, "sha256": None}
    return {
        "name": Path(model.info.name).name,
        "network": model.info.network,
        "sha256": model.info.sha256,
    }
