"""The frame of the command line: exit statuses, one-line errors, cheap starts."""

import argparse
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gsto_viz import cli
from gsto_viz.errors import GstoVizError
from gsto_viz.files import new_folder


def command(run: Any) -> SimpleNamespace:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1)

    return SimpleNamespace(
        NAME="act", HELP="acts", EXAMPLES=("gsto-viz act --count 3",), add_arguments=add_arguments,
        run=run,
    )  # fmt: skip


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace all commands by one, ``act``, that calls what the test gives."""

    def install(run: Any) -> None:
        monkeypatch.setattr(cli, "COMMANDS", ("act",))
        monkeypatch.setattr(cli, "_command_module", lambda name: command(run))

    return install


def fail(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_the_status_of_a_command_is_ours(acts: Any) -> None:
    acts(lambda args: args.count)
    assert cli.main(["act"]) == 1
    assert cli.main(["act", "--count", "3"]) == 3


def test_what_the_user_gave_is_wrong(acts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    acts(fail(GstoVizError("line one\n   line two")))
    assert cli.main(["act"]) == 2
    assert capsys.readouterr() == ("", "gsto-viz act: line one line two\n")


def test_an_interrupt(acts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    acts(fail(KeyboardInterrupt()))
    assert cli.main(["act"]) == 130
    assert capsys.readouterr().err == "gsto-viz act: interrupted\n"


def test_being_terminated_is_an_interrupt(
    acts: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half-written results go; what else listens to the signal listens again afterwards."""

    def killed(args: argparse.Namespace) -> int:
        with new_folder(tmp_path / "out", (), overwrite=False) as work:
            (work / "half").write_text("")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        return 0

    acts(killed)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["act"]) == 130
    assert capsys.readouterr().err == "gsto-viz act: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setenv("RANK", "0")
    acts(lambda args: 7 * (signal.getsignal(signal.SIGTERM) is before))
    assert cli.main(["act"]) == 7, "torchrun ends its processes itself"


def test_what_the_system_refuses_is_one_line(
    acts: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    acts(fail(PermissionError(errno.EACCES, "Permission denied", "/locked/a.png")))
    assert cli.main(["act"]) == 2
    assert capsys.readouterr() == ("", "gsto-viz act: /locked/a.png: Permission denied\n")
    acts(lambda args: (tmp_path / ("x" * 5000)).stat() and 0)
    assert cli.main(["act"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith(": File name too long\n")
    acts(fail(OSError("no number")))
    assert cli.main(["act"]) == 2
    assert capsys.readouterr().err == "gsto-viz act: no number\n"


def test_the_name_of_a_command_is_said_once(acts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    acts(fail(GstoVizError("act: count 0 is not possible")))
    assert cli.main(["act"]) == 2
    assert capsys.readouterr().err == "gsto-viz act: count 0 is not possible\n"


def test_a_bug_is_a_traceback(acts: Any) -> None:
    acts(fail(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["act"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["atc"], "invalid choice: 'atc' (choose from"),
        ([], "arguments are required: COMMAND"),
        (["act", "--count", "x"], "invalid int value: 'x'"),
        (["act", "--cuont"], "unrecognized arguments: --cuont"),
    ],
)
def test_words_that_are_not_understood(
    words: list[str], expected: str, acts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    acts(lambda args: 0)
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert error.rstrip().endswith("--help")


def test_help_shows_the_examples(acts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    acts(lambda args: 0)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["act", "--help"])
    assert "examples:\n  gsto-viz act --count 3\n" in capsys.readouterr().out


def test_quiet_silences_notices_for_this_command_only(acts: Any) -> None:
    levels = []
    acts(lambda args: levels.append(logging.getLogger("gsto_viz.any").getEffectiveLevel()) or 0)
    cli.main(["act", "--quiet"])
    cli.main(["act"])
    assert levels[0] == logging.ERROR
    assert levels[1] <= logging.WARNING


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **more
    )


HEAVY = "{'torch', 'pandas', 'matplotlib', 'scipy', 'streamlit', 'cv2'} & set(sys.modules)"


def test_import_and_help_are_cheap() -> None:
    done = python(f"import sys, gsto_viz; assert not {HEAVY}, {HEAVY}")
    assert done.returncode == 0, done.stderr
    code = "import sys\nfrom gsto_viz.cli import main\ntry:\n    main(['--help'])\nfinally:\n"
    done = python(f"{code}    assert not {HEAVY}, {HEAVY}")
    assert done.returncode == 0, done.stderr
    for name in cli.COMMANDS:
        assert re.search(rf"\n    {name}\s", done.stdout)


def test_a_command_starts_without_the_others() -> None:
    code = "import sys\nfrom gsto_viz.cli import main\n"
    code += "try:\n    main(['models', '--help'])\nfinally:\n"
    loaded = "{name for name in sys.modules if name.startswith('gsto_viz.')}"
    done = python(f"{code}    print(*sorted({loaded}))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == [
        "gsto_viz.cli",
        "gsto_viz.commands",
        "gsto_viz.commands.models",
        "gsto_viz.commands.options",
        "gsto_viz.errors",
        "gsto_viz.text_table",
    ]


def test_every_module_with_a_name_is_a_command() -> None:
    folder = Path(cli.__file__).parent / "commands"
    named = {path.stem for path in folder.glob("*.py") if "\nNAME = " in path.read_text("utf-8")}
    assert named == set(cli.COMMANDS)
    assert len(cli.COMMANDS) == len(named)


def test_every_command_has_examples_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        parser = cli.build_parser(name)
        module = cli._command_module(name)
        assert name == module.NAME
        assert module.EXAMPLES
        launched = re.compile(rf"(gsto-viz|torchrun .*-m gsto_viz) {name}\b")
        assert all(launched.match(line) for line in module.EXAMPLES)
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args([name, "--help"])
        assert module.EXAMPLES[0] in capsys.readouterr().out


WRITER = """
import sys
from types import SimpleNamespace as N
from gsto_viz import cli
cli.COMMANDS = ("act",)
def run(args):
    sys.stdout.write("line\\n" * {lines})
    return 0
cli._command_module = lambda name: N(HELP="", EXAMPLES=(), add_arguments=lambda p: None, run=run)
sys.exit(cli.main({words}))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    ("lines", "words", "who"),
    [
        (1, ["act"], "gsto-viz act"),  # fails in the last flush
        (100_000, ["act"], "gsto-viz act"),  # fails in the command
        (1, ["--help"], "gsto-viz"),
    ],
)
def test_output_that_finds_no_space_is_one_line(lines: int, words: list[str], who: str) -> None:
    code = WRITER.format(lines=lines, words=words)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, f"{who}: No space left on device\n")


def test_a_reader_who_leaves_is_no_error() -> None:
    code = WRITER.format(lines=100_000, words=["act"])
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gsto_viz", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("gsto-viz ")
