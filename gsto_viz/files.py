"""Files and folders that appear whole or not at all; fingerprints and versions."""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from gsto_viz import __version__
from gsto_viz.errors import GstoVizError

RUN_STATE = "state.safetensors"
"""The file of a training run that it continues from."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; move it there when the block succeeds.

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
    """Read a text from outside: a small regular file, UTF-8 with or without a byte order mark.

    Pipes and devices are refused unread: they may never end, or never begin.

    Args:
        path: The file.
        what: What the file is called in messages, e.g. ``the recipe``.
        max_bytes: Greatest size.

    Raises:
        GstoVizError: It cannot be read, is not a regular file, is too large, or is not UTF-8.
    """
    source = Path(path)
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise GstoVizError(f"{what} {source} is not a regular file; save it as one")
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


def read_json(path: str | Path, what: str, *, max_bytes: int = 2**20) -> Any:
    """Read JSON that somebody else gave; arguments and errors are those of ``read_small_text``.

    Raises:
        GstoVizError: Also when it is not JSON, or nested too deeply.
    """
    content = read_small_text(path, what, max_bytes=max_bytes)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise GstoVizError(
            f"{path} is not valid JSON ({reason}); correct it or copy it again"
        ) from error


def remove_leftovers(folder: Path, names: Sequence[str]) -> None:
    """Remove temporary files of ``names`` that a killed process left in a folder.

    Only for a folder that no other process is writing to.
    """
    for name in map(Path, names):
        for left in folder.glob(f".{name.stem}-{'[0-9a-f]' * 16}{name.suffix}"):
            left.unlink(missing_ok=True)


_LEFTOVER = re.compile(r"\.(.+)-[0-9a-f]{16}((?:\.[^.]*)?)")


def _of_leftover(name: str) -> str:
    """Return the name of the file that ``atomic_path`` was writing under a temporary name."""
    found = _LEFTOVER.fullmatch(name)
    return found[1] + found[2] if found else ""


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented strict JSON (NaN is refused) to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_target(target: Path, own: Collection[str], *, overwrite: bool) -> None:
    """Refuse a result folder that is taken.

    Args:
        target: Where the results shall appear.
        own: Names of all entries that such a folder can have; a folder with any other entry was
            not made by this package and is never replaced.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        GstoVizError: The target is not a folder, is not empty, holds something foreign, or cannot
            be looked at.
    """
    if not target.name:
        raise GstoVizError(f"cannot write to '{target}'; give the name of a new folder")
    try:
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir() or target.is_symlink():
            raise GstoVizError(f"{target} exists and is not a folder; choose another place")
        present = {entry.name for entry in target.iterdir()}
    except OSError as error:
        raise GstoVizError(
            f"cannot use {target}: {error.strerror}; choose another place"
        ) from error
    if present and not overwrite:
        raise GstoVizError(
            f"{target} is not empty; --overwrite replaces it, or choose another place"
        )
    foreign = sorted(name for name in present - set(own) if _of_leftover(name) not in own)
    if foreign:
        raise GstoVizError(
            f"{target} holds '{foreign[0]}', which this command never writes; choose another place"
        )


def check_creatable(target: Path, *, inside: bool = False) -> None:
    """Refuse a result that could not be written, before any work is done.

    A folder is made for a moment where the work would begin: permissions alone do not say whether
    that succeeds.

    Args:
        target: The file or folder; results are made beside it and then put in its place.
        inside: Results are written into the folder, where it is there.

    Raises:
        GstoVizError: The operating system refused.
    """
    try:
        place = target.absolute()
        work = _work_folder(place / place.name if inside and place.is_dir() else place)
        probe = next(p for p in work.parents if p.exists()) / work.name
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; choose another place") from error


def _work_folder(target: Path) -> Path:
    """Return a new name beside ``target`` for the results while they are written."""
    return target.parent / f".{target.name}-{uuid.uuid4().hex[:12]}"


@contextmanager
def new_folder(target: Path, own: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; it takes the target's place when the block succeeds.

    An earlier result is moved aside first and comes back if the move fails. When the block fails,
    nothing of it stays.

    Raises:
        GstoVizError: As ``check_target``, or the operating system refused the write; the message
            names ``target``, not the temporary folder.
    """
    check_target(target, own, overwrite=overwrite)
    work = _work_folder(target)
    try:
        work.mkdir(parents=True)
        yield work
        _put_in_place(work, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; free or choose a place") from error
    except GstoVizError as error:
        raise GstoVizError(str(error).replace(str(work), str(target))) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    old = work.with_name(f"{work.name}-old")
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless", "pandas", "matplotlib")


def versions() -> dict[str, str]:
    """Return versions of Python, gsto_viz and the packages that results depend on."""
    found = {"python": platform.python_version(), "gsto_viz": __version__}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found
