"""Names of networks -> configurations -> modules."""

import difflib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.models.config import GatingConfig, HRNetConfig
from gsto_viz.models.hrnet import HRNet

SMALL_V1 = HRNetConfig(width=16, stage1_blocks=1, stage1_planes=32, modules=(1, 1, 1), blocks=2)
SMALL_V2 = HRNetConfig(width=18, stage1_blocks=2, stage1_planes=64, modules=(1, 3, 2), blocks=2)
TINY = HRNetConfig(width=4, stage1_blocks=1, stage1_planes=4, modules=(1, 2, 1), blocks=1)
"""For tests: every kind of part, a few thousand weights."""

SIZES: dict[str, HRNetConfig] = {
    "w18-small-v1": SMALL_V1,
    "w18-small-v2": SMALL_V2,
    **{f"w{width}": HRNetConfig(width=width) for width in (18, 30, 32, 40, 44, 48, 64)},
    "tiny": TINY,
}

CONFIGS: dict[str, HRNetConfig] = {
    **{f"hrnetv2-{size}": config for size, config in SIZES.items()},
    **{
        f"gsto-hrnet-{size}": replace(config, gating=GatingConfig())
        for size, config in SIZES.items()
    },
}
"""Every registered network at 19 classes. ``w18-small-v1`` has 16 channels in branch 0, as HRNet's
own file of that name; the GSTO paper's "W18" is ``w18-small-v2``."""


MAX_LISTED = 5
"""Keys that a message lists before it counts the rest."""


def closest(name: str, valid: Iterable[str], count: int = 3) -> str:
    """Return a help clause with the names nearest to ``name``: ``did you mean a, b?``."""
    names = list(valid)
    matches = difflib.get_close_matches(name, names, n=count, cutoff=0.4)
    return f"did you mean {', '.join(matches)}?" if matches else f"valid: {', '.join(names)}"


def some_keys(keys: Iterable[object]) -> str:
    """Return the first few keys and how many more there are, for messages."""
    listed = [str(key) for key in keys]
    more = f", and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    return ", ".join(listed[:MAX_LISTED]) + more


def model_config(name: str, **options: Any) -> HRNetConfig:
    """Return the configuration of a registered network with options changed.

    Raises:
        GstoVizError: Unknown name or option (the closest valid names are given).
    """
    if name not in CONFIGS:
        raise GstoVizError(f"unknown model '{name}'; {closest(name, CONFIGS)}")
    return CONFIGS[name].with_options(**options)


def build_model(name: str, **options: Any) -> HRNet:
    """Make a network with freshly drawn weights.

    Args:
        name: A key of ``CONFIGS``, e.g. ``hrnetv2-w48`` or ``gsto-hrnet-w18-small-v2``.
        **options: Fields of ``HRNetConfig`` (``num_classes=11``, ``align_corners=True``) and, for
            gated networks, of ``GatingConfig`` with the prefix ``gate_`` (``gate_form="paper"``,
            ``gate_supervised=(3,)``, ``gate_diagonal=False``).

    Raises:
        GstoVizError: Unknown name, unknown option, or a value that makes no network.

    Example:
        >>> build_model("gsto-hrnet-tiny", num_classes=11).config.gating.form
        'released'
    """
    return HRNet(model_config(name, **options))
