"""Files that appear whole or not at all, and their fingerprints."""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gsto_viz.errors import GstoVizError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; move it there when the block succeeds.

    The content is flushed to disk before the rename, so ``path`` holds either what it held before
    or the whole new content. When the block fails (a full disk, an interrupt) the temporary file is
    removed and the exception goes on. Any number of threads and processes may write the same path:
    the last one wins, whole.

    Args:
        path: Where the file shall appear. Its folder is made if it is missing.

    Yields:
        A path in the same folder with the same suffix, for writers that look at the suffix.

    Raises:
        GstoVizError: The operating system refused the write (no space, no permission).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.stem}-{secrets.token_hex(8)}{target.suffix}")
        # Made by the system call itself, so that the umask decides the rights: reading the umask
        # means setting it, which threads would do to each other.
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = fresh
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; free or choose a place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_small_text(path: str | Path, what: str, *, max_bytes: int = 2**20) -> str:
    """Read a text that somebody else gave: a regular file, UTF-8 (with or without a mark), small.

    Pipes and devices are refused unread: they may never end, or never begin.

    Args:
        path: The file.
        what: What the file is called in messages, e.g. ``the recipe``.
        max_bytes: Greatest size.

    Raises:
        GstoVizError: It cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    source = Path(path)
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise GstoVizError(f"{what} {source} is no regular file; save it as one")
        with source.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot read {what} {source}: {reason}; check it") from error
    if len(content) > max_bytes:
        raise GstoVizError(
            f"{what} {source} is larger than {max_bytes / 2**20:g} MiB; give a smaller file"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GstoVizError(f"{what} {source} is not UTF-8 text; save it as that") from error


def remove_leftovers(folder: Path, names: Sequence[str]) -> None:
    """Remove temporary files of ``names`` that a killed process left in a folder.

    Only for a folder that no other process is writing to.
    """
    for name in map(Path, names):
        for left in folder.glob(f".{name.stem}-{'[0-9a-f]' * 16}{name.suffix}"):
            left.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented strict JSON (NaN is refused) to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
