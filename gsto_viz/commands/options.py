"""Options that several commands share."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gsto_viz.errors import GstoVizError

if TYPE_CHECKING:
    import torch

    from gsto_viz.models import HRNet


def add_model_pair(parser: argparse.ArgumentParser) -> None:
    """Add ``--model A=CHECKPOINT --model B=CHECKPOINT``."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="A=CHECKPOINT",
        help="A (baseline) or B (gated): a shipped name or a file; give it twice",
    )


def load_pair(
    given: list[str], default: Mapping[str, str], device: "torch.device"
) -> "dict[str, HRNet]":
    """Load networks A and B from ``--model`` words, or the default ones.

    Raises:
        GstoVizError: A word is not A=... or B=..., or one is given twice.
    """
    from gsto_viz.models import load_model

    chosen = {}
    for word in given:
        key, equals, source = word.partition("=")
        if key not in default or not equals or not source:
            raise GstoVizError(f"--model {word}: write A=CHECKPOINT or B=CHECKPOINT")
        if key in chosen:
            raise GstoVizError(f"--model {key} is given twice; give A once and B once")
        chosen[key] = source
    if chosen and set(chosen) != set(default):
        missing = sorted(set(default) - set(chosen))
        raise GstoVizError(f"--model {missing[0]}=CHECKPOINT is missing; give both, or neither")
    sources = chosen or default
    return {key: load_model(sources[key]).to(device) for key in default}
