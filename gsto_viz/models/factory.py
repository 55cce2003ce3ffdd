"""Networks from a factory file, ``path.py:function``: its author's code runs, so only when asked.

The command line says so once; the explorer never does it.
"""

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from gsto_viz.errors import GstoVizError

_LOG = logging.getLogger(__name__)

MARK = ".py:"
_FORM = "write PATH.py:FUNCTION, where FUNCTION takes nothing and returns an nn.Module"


def is_factory(text: str) -> bool:
    """Return whether a text means a factory file."""
    return MARK in text


def run_factory(text: str) -> nn.Module:
    """Run a factory file and return the network that it makes, in evaluation mode.

    The file's folder can be imported from, as if the file were run.

    Args:
        text: ``path.py:function``.

    Raises:
        GstoVizError: No such file or function, its code fails, or it returns something else.
    """
    path_text, _, name = text.rpartition(":")
    path = Path(path_text)
    if not path.is_file() or not name.isidentifier():
        raise GstoVizError(f"{text} is not a factory: {_FORM}")
    _LOG.warning("running the code of %s", text)
    module = _run(path)
    function = getattr(module, name, None)
    if not callable(function):
        found = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise GstoVizError(
            f"{path} has no function '{name}'; it has {', '.join(found[:8]) or 'none'}"
        )
    try:
        network = function()
    except (Exception, SystemExit) as error:
        raise GstoVizError(f"{text} fails: {_said(error)}; mend it") from error
    if not isinstance(network, nn.Module):
        raise GstoVizError(f"{text} returns a {type(network).__name__}, no network; {_FORM}")
    return network.eval()


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gsto_viz_factory_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise GstoVizError(f"{path} is not a Python file; {_FORM}")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles of the file look their module up by its name.
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise GstoVizError(f"{path} fails: {_said(error)}; mend it") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
