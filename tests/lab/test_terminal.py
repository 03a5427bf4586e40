"""The command line where it is read: terminals of any width, logs, notebooks, pipes that end early, and the Tab key."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hardgrad_lab import SwitchRegressor, cli
from hardgrad_lab.app import build
from hardgrad_lab.commands.table import print_table
from hardgrad_lab.runs.live import CutColumn, is_live, waiting

ROOT = Path(__file__).parents[2]
NOTEBOOK = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "MPLBACKEND")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NOTEBOOK, "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(width: int = 80, screen: io.StringIO | None = None) -> Console:
    return Console(file=screen or Screen(), width=width, emoji=False)


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


# ------------------------------------------------------------------------------------------ where a bar can move


def test_a_bar_moves_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_live(console())
    assert not is_live(console(screen=io.StringIO()))
    closed = Screen()
    live = console(screen=closed)
    closed.close()
    monkeypatch.setattr(Screen, "isatty", lambda self: self.getvalue() == "")
    assert not is_live(live)


def test_a_log_that_wants_colors_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = console(screen=io.StringIO())
    assert log.is_terminal, "rich would move its bars here"
    assert not is_live(log)
    with waiting(log, "measuring") as say:
        say("still measuring")
    assert shown(log) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("TERM", "dumb"), ("JPY_PARENT_PID", "7"), ("JPY_SESSION_NAME", "a.ipynb"),
     ("MPLBACKEND", "module://matplotlib_inline.backend_inline")],
)  # fmt: skip
def test_a_cell_and_a_dumb_terminal_get_lines(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not is_live(console())


def test_other_backends_are_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert is_live(console())
    with waiting(on := console(), "measuring"):
        pass
    assert "measuring" in shown(on)


@pytest.mark.parametrize("width", [40, 80])
def test_words_give_way_before_the_share_and_the_time(width: int) -> None:
    on = console(width)
    columns = (BarColumn(8), TextColumn("{task.percentage:>3.0f}%"), CutColumn("figures"), TimeRemainingColumn(True))
    with Progress(*columns, console=on, auto_refresh=False) as progress:
        progress.add_task("", total=4, completed=1, figures="loss 3.402 penalty 24.31 accuracy 1.00% 1,000 samples/s")
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(on)).replace("\n", "\r").strip().split("\r")[-1]
    assert len(last) <= width
    assert " 25% loss 3.402" in last
    assert last.endswith("--:--")


@pytest.mark.parametrize("branch", ["mlp", "linear"])
def test_an_estimator_shows_its_training(capsys: pytest.CaptureFixture[str], branch: str) -> None:
    x = np.linspace(-1, 1, 200)[:, None]
    model = SwitchRegressor([-1, 0, 1], branch=branch, hidden=(4,), epochs=30, random_state=0)
    model.fit(x, abs(x[:, 0]), progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) in (range(2, 12) if branch == "mlp" else (1,))  # patience may come to its end
    assert re.fullmatch(r"SwitchRegressor epoch +\d+/(30|1)  loss \S+(  held out \S+)?  0 s left", lines[-1])
    silent = SwitchRegressor([-1, 0, 1], branch=branch, hidden=(4,), epochs=30, random_state=0).fit(x, abs(x[:, 0]))
    assert capsys.readouterr().out == ""
    assert (silent.predict(x) == model.predict(x)).all(), "to look changes nothing"


# ------------------------------------------------------------------------------------------ tables


def numbers() -> Table:
    table = Table(title="what was measured", box=box.SIMPLE_HEAD)
    for heading in ("range", "training\nrows", "RMSE", "of a very long heading", "R2"):
        table.add_column(heading, no_wrap=True)
    table.add_row("[0, 1)", "1,024", "0.00123456", "", "0.99")
    table.add_row("[1, 2]", "2,048", "0.00654321", "7.5", "0.98", style="bold")
    return table


def test_a_table_that_fits_is_a_table() -> None:
    print_table(numbers(), on := console(100, io.StringIO()))
    assert re.search(r"\[0, 1\) +1,024 +0\.00123456 +0\.99", shown(on))


def test_a_table_that_does_not_fit_is_row_by_row_and_no_number_is_cut() -> None:
    print_table(numbers(), on := console(40, io.StringIO()))
    assert shown(on).splitlines() == [
        "what was measured",
        "", "range: [0, 1)", "training rows: 1,024", "RMSE: 0.00123456", "R2: 0.99",
        "", "range: [1, 2]", "training rows: 2,048", "RMSE: 0.00654321", "of a very long heading: 7.5", "R2: 0.98",
        "",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ the command


def hardgrad(words: str, after: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; {sys.executable} -m hardgrad_lab.cli {words} {after}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **settings}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=120, encoding="utf-8"
    )


def test_the_version_has_torchs_and_pythons(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out.splitlines() == [
        f"hardgrad {metadata.version('hardgrad')}", f"torch {metadata.version('torch')}", f"Python {python}"
    ]  # fmt: skip


def test_the_package_is_the_command_too() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "hardgrad_lab", "--version"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout.split()[:2]) == (0, ["hardgrad", metadata.version("hardgrad")])


def test_a_version_that_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert cli.main(["--version"]) == 0
    assert "torch unknown (not installed)\n" in capsys.readouterr().out


def test_the_version_imports_no_torch() -> None:
    program = "import sys; from hardgrad_lab.cli import main; main(['--version']); print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "False"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    ran = hardgrad("reproduce sorting --help", "| head -1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: ")


def test_letters_that_the_output_does_not_have_are_question_marks() -> None:
    ran = hardgrad("--help", PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.isascii()
    assert "reproduce" in ran.stdout
    wrong = hardgrad("größe", PYTHONIOENCODING="ascii:strict")
    assert wrong.returncode == 1
    assert "hardgrad: " in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("columns", [40, 200])
def test_help_fits_and_has_no_codes_in_a_pipe(columns: int) -> None:
    ran = hardgrad("doctor --help", COLUMNS=str(columns))
    assert max(map(len, ran.stdout.splitlines())) <= columns
    assert "\x1b" not in ran.stdout


def test_colors_are_for_those_who_want_them() -> None:
    assert "\x1b[31m" in hardgrad("bogus", FORCE_COLOR="1", TERM="xterm").stderr
    assert "\x1b[" not in hardgrad("bogus").stderr
    assert "\x1b[3" not in hardgrad("bogus", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stderr


# ------------------------------------------------------------------------------------------ the Tab key


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "hardgrad"
    path.write_text(build().generate_completion(shell="bash"))
    return path


@pytest.mark.parametrize(
    ("words", "completed"),
    [("rep", {"report", "reproduce"}), ("reproduce sor", {"sorting"}), ("fit --tar", {"--target"}),
     ("doctor --noi", {"--noise"}), ("doctor br", {"breaks"})],
)  # fmt: skip
def test_bash_completes(script: Path, words: str, completed: set[str]) -> None:
    given = ["hardgrad", *words.split()]
    command = f". {script}; COMP_WORDS=({' '.join(given)}); COMP_CWORD={len(given) - 1}; _hardgrad; "
    ran = subprocess.run(
        ["bash", "--norc", "-c", command + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True
    )
    assert {word.strip() for word in ran.stdout.splitlines()} == completed, ran.stderr


def test_completion_is_installed_where_the_shell_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cyclopts.App.generate_completion", lambda self, **given: f"# {given['shell']}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["--install-completion", "--shell", "bash"]) == 0
    path = tmp_path / ".local/share/bash-completion/completions/hardgrad"
    assert path.read_text() == "# bash\n"
    assert str(path) in (tmp_path / ".bashrc").read_text()
    assert str(path) in capsys.readouterr().out
    before = (tmp_path / ".bashrc").read_text()
    assert cli.main(["--install-completion", "--shell", "bash"]) == 0
    assert (tmp_path / ".bashrc").read_text() == before, "once is enough"
    assert cli.main(["--install-completion", "--shell", "zsh", "--output", str(tmp_path / "_hardgrad")]) == 0
    assert not (tmp_path / ".zshrc").exists()
    assert "fpath" in capsys.readouterr().out


def test_a_shell_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from cyclopts import completion

    def unknown() -> Any:
        raise completion.ShellDetectionError

    monkeypatch.setattr(completion, "detect_shell", unknown)
    assert cli.main(["--install-completion"]) == 1
    assert "--shell must be bash, zsh, fish or powershell" in capsys.readouterr().err


def test_on_a_terminal_a_run_is_a_bar_and_in_a_pipe_lines(tmp_path: Path) -> None:
    """A real terminal, since all depends on what the operating system says of it."""
    small = "--samples 640 --batch 32 --width 16 --test-rows 200 --curve-rows 100 --evaluations 4"
    words = f"reproduce sorting --length 3 {small} --out {tmp_path}".split()
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "40"}
    with subprocess.Popen(
        [sys.executable, "-m", "hardgrad_lab.cli", *words], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0
    text = said.decode()
    assert "\x1b[2K" in text, "a line that is written over"
    assert "--:--" in text
    assert "system: signum-dense" in text, "row by row"
