"""The one reader of weights that others wrote: told by content, found in wrappers, no code run."""

import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gsto_viz.errors import GstoVizError

DEEPEST = 4
"""Wrappers within wrappers that are looked through."""

PREFIXES = ("module.", "model.", "net.", "network.", "backbone.")
"""Traces of DataParallel, Lightning and training wrappers in front of names."""

INFIXES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Traces of ``torch.compile`` and its like, anywhere in a name."""

NO_WEIGHTS = re.compile(
    r"n_averaged|(^|[._])(loss|criterion|metrics?|m?iou|acc|accuracy|jaccard|confmat)([._]|$)", re.I
)
"""Class weights of a loss, states of metrics and the counter of an average, saved along."""

AVERAGES = re.compile(r"ema|averag|teacher|swa")
"""Names of moving averages; beside plain weights of as many tensors, the plain ones are taken."""

# What torch's own reader raises for damaged files and for pickles that are not plain tensors.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
    SafetensorError,
    OSError,
)


@dataclass(frozen=True)
class Weights:
    """Weights of one network, on the CPU.

    Attributes:
        source: The file, for messages.
        tensors: By name, without what wrappers put in front of it.
        left_out: Original names of what is not weights.
        said: Which of the file's mappings they are; None where there was nothing to choose.
    """

    source: str
    tensors: dict[str, Tensor]
    left_out: tuple[str, ...] = ()
    said: str | None = None


def is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors: by content, or by suffix where that tells nothing.

    Such files begin with the length of a JSON text and the text; torch's are zips or pickles.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
        size = path.stat().st_size
    except OSError:
        return False
    if head[8:] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size:
        return True
    return path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80"))


def read_weights(source: Mapping[str, Any] | str | Path, anchor: str) -> Weights:
    """Return the weights that a file holds, whatever its suffix and whatever is wrapped around.

    The mapping with most tensors is taken, of equal ones the first that is not an average. Known
    prefixes come off every name, and any other where ``anchor`` shows it.

    Args:
        source: A file of ``torch.save`` or of safetensors, or what such a file holds.
        anchor: A name that every such network has.

    Raises:
        GstoVizError: No such file, a damaged file, a pickle of more than plain tensors, numbers
            and numpy scalars (nothing of it is run), or no weights in it.
    """
    what = "the state dict" if isinstance(source, Mapping) else str(source)
    held: Any = source if isinstance(source, Mapping) else _read_file(Path(source))
    found = dict(_mappings(held))
    path, said = _largest({name: _count(one) for name, one in found.items()})
    if not found or not _count(found[path]):
        raise GstoVizError(f"{what} holds no weights; give a state dict of tensors")
    tensors: dict[str, Tensor] = {}
    left_out = []
    for name, value in found[path].items():
        key = _strip(str(name))
        if NO_WEIGHTS.search(key) or not isinstance(value, Tensor):
            left_out.append(str(name))
        elif value.layout != torch.strided or value.is_quantized:
            raise GstoVizError(
                f"{what}: '{name}' is not a plain tensor; give the state dict of a network"
            )
        elif key in tensors:
            raise GstoVizError(
                f"{what} has two tensors for '{key}'; give the weights of one network"
            )
        else:
            tensors[key] = value.detach()
    tensors, others, chosen = _without_prefix(tensors, anchor, what)
    return Weights(what, tensors, (*left_out, *others), chosen or said)


def _mappings(held: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield every mapping in a checkpoint by the keys that lead to it, outermost first."""
    level, seen = [("", held)], {id(held)}
    for _ in range(DEEPEST):
        level = [(path, one) for path, one in level if isinstance(one, Mapping)]
        yield from level
        inner = []
        for path, one in level:
            for name, value in one.items():
                if isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    inner.append((f"{path}.{name}".lstrip("."), value))
        level = inner


def _count(held: Mapping[Any, Any]) -> int:
    """Count tensors that are not single numbers, which only some writers save."""
    return sum(isinstance(value, Tensor) and value.dim() > 0 for value in held.values())


def _largest(counts: Mapping[str, int]) -> tuple[str, str | None]:
    """Return the name with the highest count, and words for the choice where there was one."""
    chosen = max(counts, key=lambda one: (counts[one], not AVERAGES.search(one)), default="")
    rivals = [one for one in counts if one != chosen and 2 * counts[one] > counts[chosen] > 0]
    if not chosen and not rivals:
        return chosen, None
    taken = f"under '{chosen}'" if chosen else "without a prefix"
    beside = " and ".join(f"'{one}'" if one else "no prefix" for one in rivals)
    other = f", not those under {beside}; to use those, save them alone" if rivals else ""
    return chosen, f"weights {taken} are taken{other}"


def _strip(name: str) -> str:
    for infix in INFIXES:
        name = name.replace(infix, "")
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _without_prefix(
    tensors: dict[str, Tensor], anchor: str, what: str
) -> tuple[dict[str, Tensor], list[str], str | None]:
    """Take off the prefix that the anchor has; of several networks the largest is taken.

    Returns:
        Tensors of one network, the names of those of others, and words for the choice.
    """
    starts = [key.removesuffix(anchor) for key in tensors if f".{key}".endswith(f".{anchor}")]
    if starts in ([], [""]):
        return tensors, [], None
    homes = {
        key: max((start for start in starts if key.startswith(start)), key=len, default=None)
        for key in tensors
    }
    counts = {start: list(homes.values()).count(start) for start in starts}
    chosen, said = _largest(counts)
    # What has no network's prefix is the one network's own, such as a head beside its backbone.
    kept = {key: home for key, home in homes.items() if home in (chosen, None)}
    left_out = [key for key in tensors if key not in kept]
    own = {key.removeprefix(home or ""): tensors[key] for key, home in kept.items()}
    if len(own) < len(kept):
        raise GstoVizError(f"{what} has two tensors of one name; give the weights of one network")
    return own, left_out, said if len(starts) > 1 else None


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise GstoVizError(f"no checkpoint file {path}; check the path")
    try:
        if is_safetensors(path):
            return load_file(path, device="cpu")
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            # torch warns about odd pickles before it refuses them; our sentence says enough.
            warnings.simplefilter("ignore", UserWarning)
            with path.open("rb") as file:  # of a path torch would look at the suffix
                return torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise GstoVizError(
            _other_kind(path, str(error))
            or f"{path} is damaged or holds more than plain tensors, which is never loaded;"
            " save the network's state_dict alone"
        ) from error


def _other_kind(path: Path, error: str) -> str:
    """Return what to say of a file that is known to be something else; empty for others.

    Args:
        path: The file.
        error: What torch says of it.
    """
    if "TorchScript" in error:
        return (
            f"{path} is a TorchScript archive, whose code is never run; save the state_dict of the "
            "network that it was made of"
        )
    with path.open("rb") as file:
        head = file.read(256)
    if not head.strip(b"\0"):
        return f"{path} is empty, not a file of weights; download it again"
    if head.isascii() and b"\0" not in head and not head.startswith(b"\x80"):
        return (
            f"{path} is a text such as a web page or a pointer of Git LFS, not weights; download "
            "the file itself"
        )
    return ""


def _numpy_scalar(dtype: npt.DTypeLike, data: bytes) -> Any:
    """Make a numpy number or text of its bytes, as ``numpy.core.multiarray.scalar`` does."""
    return np.frombuffer(data, _plain(np.dtype(dtype)), 1)[0]


def _numpy_dtype(*description: Any) -> np.dtype[Any]:
    """Make a numpy type of what a pickle says of it."""
    return _plain(np.dtype(*description))


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "biufcSU":
        raise pickle.UnpicklingError(f"{dtype} is not a type of numbers or texts")
    return dtype


def _numpy_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a pickle of numpy scalars calls: an epoch's best score, by its two old names."""
    types = {type(np.dtype(code)) for code in (*np.typecodes["All"],)}
    plain = [one for one in types if one not in (type(np.dtype("O")), type(np.dtype("V")))]
    scalar = [(_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*plain, *scalar, (_numpy_dtype, "numpy.dtype")]
