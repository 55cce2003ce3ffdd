"""Safetensors files: named tensors and a text, read with checks and written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Args:
        path: Where it shall appear.
        tensors: Any device and layout; stored contiguous, values and types as they are.
        metadata: Texts by name.

    Raises:
        GstoVizError: The operating system refused the write; what was there before is intact.
    """
    stored = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # Not safetensors' own save_file: that puts a second temporary file, readable by its owner
    # alone, in the place of ours, and reports a full disk as an error of its own kind.
    content = save(stored, dict(metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        Tensors by name, and the file's text metadata.

    Raises:
        GstoVizError: Missing, a folder, or not a whole safetensors file.
    """
    if not path.is_file():
        raise GstoVizError(f"no file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(
            f"{path} is not a readable safetensors file ({error}); take another copy"
        ) from error
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts of a safetensors file without its tensors; errors as in ``read_tensors``."""
    if not path.is_file():
        raise GstoVizError(f"no file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(
            f"{path} is not a readable safetensors file ({error}); take another copy"
        ) from error
