"""The commands, and how their errors are said. Whatever imports torch or matplotlib is imported inside a command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cyclopts import App, CycloptsError
from rich.console import Console

from hardgrad_lab.commands.machine import Stopped, explain, is_first

Shell = Literal["bash", "zsh", "fish", "powershell"]
# Imported when they are asked for: the name of a command imports no other.
ABOUT = {
    "fit": "Fit a hard IF to a table or to a pair of sounds; write a model folder and a report.",
    "predict": "Predict with a fitted model: a table or a sound in, a table or a sound out.",
    "export": "Write a fitted model as C, JSON, ONNX or a torch program.",
    "reproduce": "Run a published experiment: progress, records, checkpoints, a report.",
    "report": "Make tables, figures and a page from records; nothing is trained. Without a name: all.",
    "doctor": "Measure gradients on your own function: bias, noise, direction, cost; and which to use.",
    "bench": "Measure on this machine, beside what else could be used.",
}


class Root(App):
    """The first word of the command line, which imports what the other words name when they are asked for."""

    def help_print(self, tokens: str | Iterable[str] | None = None, *, console: Console | None = None) -> None:
        """Print the help of the command that some words name."""
        command = self.parse_commands(tokens)[1][-1]
        # Of plain lines the first page alone is made: what renders more takes longer to import than all the rest.
        self.help_format = "plaintext" if command is self else None
        for name in () if command is self else command:
            command[name]  # imports it, as its line is the first one of its own help
        super().help_print(tokens, console=console)


def build() -> App:
    """Return the whole command line."""
    app = Root(
        name="hardgrad",
        help="Hard things inside PyTorch networks, trained end to end.",
        version=_version,
        version_format="plaintext",
        suppress_keyboard_interrupt=False,  # cyclopts would end with the right status and not a word
    )
    for name, about in ABOUT.items():
        app.command(f"hardgrad_lab.commands.{name}:app", name=name, help=about)

    @app.command(name="--install-completion")
    def install_completion(*, shell: Shell | None = None, output: Path | None = None) -> int:
        """Let the Tab key complete commands and options: in bash, zsh, fish or PowerShell.

        Parameters
        ----------
        shell
            By default the shell that this is called from.
        output
            Write the script here, and change nothing else.
        """
        from hardgrad_lab.commands.completion import install

        return install(app, shell, output)

    return app


def run(arguments: list[str]) -> int:
    """Run one command and turn its errors into a line and a status.

    Args:
        arguments: the words after ``hardgrad``.

    Returns:
        0 when all went well, 1 on an error, 128 plus the signal's number when a signal stopped it.
    """
    try:
        return guarded(lambda: build()(arguments, exit_on_error=False, print_error=False, result_action="return_value"))
    except Stopped as stopped:
        if is_first():
            _say(f"{stopped}; continue with: {_again(arguments)}" if stopped.again else str(stopped))
        return stopped.status


def guarded(work: Callable[[], object]) -> int:
    """Do a command's work and turn a user's mistake, a damaged file or a full disk into a line and a status.

    Args:
        work: what the command does; what it returns is the status, if it is a number.
    """
    try:
        result = work()
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        _forget_output()
        return 0
    except SystemExit as ended:  # as rich says it
        if isinstance(ended.__context__, BrokenPipeError):
            return 0
        raise
    except (CycloptsError, ValueError, ArithmeticError, OSError) as error:
        _say(explain(error))
        return 1
    except MemoryError:
        _say("there is not enough memory for this; take fewer rows, or a machine with more")
        return 1
    return result if isinstance(result, int) else 0


def _forget_output() -> None:
    """Let nothing be said at the end of what can no longer be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _again(arguments: list[str]) -> str:
    """Return the words that continue a run which these began."""
    words = [word for word in arguments if word not in ("--force", "--resume")]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return f"torchrun as before, and {shlex.join([*words, '--resume'])}"
    return f"hardgrad {shlex.join([*words, '--resume'])}"


def _say(message: str) -> None:
    Console(stderr=True, emoji=False).print(
        f"hardgrad: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def _version() -> str:
    """Return what a report of a fault should begin with; torch's number is read, torch is not imported."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"hardgrad {_installed('hardgrad')}\ntorch {_installed('torch')}\nPython {python}"


def _installed(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
