"""The wheel: everything is in it, and it works outside the repository without the dev extra."""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
HIDE = '''
"""Hide what only the dev extra installs: nothing finds it, as if it were not there."""
import sys
from importlib.machinery import PathFinder


class Kept:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            return None
        return PathFinder.find_spec(name, path, target)

    invalidate_caches = PathFinder.invalidate_caches
    find_distributions = PathFinder.find_distributions


sys.meta_path[sys.meta_path.index(PathFinder)] = Kept
'''


def tracked(*folders: str) -> list[str]:
    """The files of the repository, those that are not committed yet as well, by path."""
    words = ["ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(
        ["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def run(*words: str, **options) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a folder ``build`` of old could bring old modules into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked("gsto_viz", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


def needed(name: str, found: set[str]) -> set[str]:
    """Add a distribution and all that it needs, without extras, to those found."""
    if canonicalize_name(name) in found:
        return found
    try:
        requires = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    found.add(canonicalize_name(name))
    for text in requires:
        requirement = Requirement(text)
        extras = requirement.extras | {""}
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, found)
            for extra in extras - {""}:
                needed_by_extra(requirement.name, extra, found)
    return found


def needed_by_extra(name: str, extra: str, found: set[str]) -> None:
    """Add what an extra of a distribution needs."""
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            needed(requirement.name, found)


def hidden_modules() -> set[str]:
    """Top-level modules of all distributions that a user without the dev extra does not get."""
    kept = needed("gsto-viz", set())
    assert {"torch", "streamlit", "gsto-viz"} <= kept
    modules = importlib.metadata.packages_distributions()
    hidden = {
        module
        for module, owners in modules.items()
        if not {canonicalize_name(owner) for owner in owners} & kept
    }
    assert {"pytest", "hypothesis", "playwright", "nbclient", "mypy"} <= hidden
    return hidden


@dataclass(frozen=True)
class Installed:
    """The wheel in a folder of its own.

    Attributes:
        command: ``gsto-viz``.
        package: Where the package lies.
        options: How to run it: outside the repository, without the dev extra.
    """

    command: str
    package: Path
    options: dict


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Beside the dependencies of this environment; whatever else is in it is hidden."""
    place, hook = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("hook")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-index", "--target", str(place), str(wheel))
    (hook / "sitecustomize.py").write_text(HIDE.format(hidden=hidden_modules()))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GSTO_VIZ_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": os.pathsep.join(map(str, (hook, place)))}
    outside = tmp_path_factory.mktemp("outside")
    assert not outside.is_relative_to(ROOT)
    options = {"cwd": outside, "env": environment | {"HOME": str(outside)}}
    return Installed(str(place / "bin" / "gsto-viz"), place / "gsto_viz", options)


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    assert names == set(tracked("gsto_viz"))
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE", "licenses/THIRD_PARTY.md"} <= about


def test_the_installed_package_is_the_one_that_runs_without_the_dev_extra(installed) -> None:
    code = "import gsto_viz; print(gsto_viz.__file__)"
    where = run(sys.executable, "-c", code, **installed.options).stdout.strip()
    assert Path(where) == installed.package / "__init__.py"
    failed = subprocess.run(
        [sys.executable, "-c", "import pytest"], capture_output=True, text=True, **installed.options
    )
    assert "No module named 'pytest'" in failed.stderr


def test_demo_and_figures_run(installed: Installed) -> None:
    words = ["demo", "--data", "scenes:count=2,size=64x128", "--no-nulls", "--out", "demo"]
    run(installed.command, *words, "--quiet", **installed.options)
    run(installed.command, "figures", "demo", "--format", "png", "--quiet", **installed.options)
    demo = installed.options["cwd"] / "demo"
    assert (demo / "report.html").stat().st_size > 10_000
    assert {"sci_dots.csv", "sci_dots.png"} <= {path.name for path in (demo / "figures").iterdir()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(url: str, process: subprocess.Popen, seconds: float = 120) -> Iterator[bytes]:
    """Ask until something answers or the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                yield bytes(answer.read())
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)


def test_the_explorer_is_healthy(installed: Installed, tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [installed.command, "app", "--port", str(port), "--no-browser"],
            stdout=said,
            stderr=said,
            **installed.options,
        )
        try:
            found = list(answers(f"http://127.0.0.1:{port}/_stcore/health", process))
            said.seek(0)
            assert found == [b"ok"], said.read()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            finally:
                process.kill()
