"""``--taps FILE``: where networks are read, as YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
from gsto_viz.report.subjects import Site, site_of

FORM = (
    "write 'branches: stage4.branch*', or a list of taps, finest first; for networks that do not "
    "know their strides add 'strides: [4, 8, ...]'"
)


def read_sites(path: str | Path, models: Mapping[str, nn.Module]) -> dict[str, Site]:
    """Read a taps file and find its branches in every network.

    The file is a mapping with ``branches`` (a tap, a pattern, or a list of them) and, for networks
    that do not know their taps, ``strides`` (pixels per cell of each branch, in the same order).

    Args:
        path: The file.
        models: The networks by key.

    Returns:
        The site of each network.

    Raises:
        GstoVizError: Not such a file, or a network does not have these taps.
    """
    text = read_small_text(path, "the taps file")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise GstoVizError(f"the taps file {path} is not YAML ({error}); {FORM}") from error
    branches, strides = _checked(values, path)
    if strides is not None:
        return {key: Site(tuple(branches), tuple(strides)) for key in models}
    return {key: site_of(model, branches) for key, model in models.items()}


def _checked(values: Any, path: str | Path) -> tuple[list[str], list[int] | None]:
    """Return branches and strides, or say what is wrong with the file."""
    if not isinstance(values, dict) or "branches" not in values:
        raise GstoVizError(f"the taps file {path} has no 'branches'; {FORM}")
    unknown = sorted(map(str, set(values) - {"branches", "strides"}))
    if unknown:
        raise GstoVizError(f"the taps file {path} has an unknown key '{unknown[0]}'; {FORM}")
    branches, strides = values["branches"], values.get("strides")
    branches = [branches] if isinstance(branches, str) else branches
    if not isinstance(branches, list) or not all(isinstance(b, str) for b in branches):
        raise GstoVizError(f"'branches' of the taps file {path} are no names; {FORM}")
    if strides is not None and (
        not isinstance(strides, list) or not all(type(s) is int and s > 0 for s in strides)
    ):
        raise GstoVizError(f"'strides' of the taps file {path} are no whole numbers; {FORM}")
    return branches, strides
