"""The commands, and how their errors are said. Whatever imports torch or matplotlib is imported inside a command."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import metadata

from cyclopts import App, CycloptsError
from rich.console import Console

from hardgrad_lab.commands import bench, doctor, fit, predict, report, reproduce
from hardgrad_lab.commands.machine import is_first


def build() -> App:
    """Return the whole command line."""
    app = App(name="hardgrad", help="Hard things inside PyTorch networks, trained end to end.", version=_version)
    app.command(fit.app)
    app.command(predict.app)
    app.command(reproduce.app)
    app.command(report.app)
    app.command(doctor.app)
    app.command(bench.app)
    return app


def run(arguments: list[str]) -> int:
    """Run one command and turn its errors into a line and a status.

    Args:
        arguments: the words after ``hardgrad``.

    Returns:
        0 when all went well, 1 on an error, 128 plus the signal's number when a signal stopped it.
    """
    errors = Console(stderr=True)
    try:
        result = build()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _say(errors, str(error))
        return 1
    except KeyboardInterrupt:
        _say(errors, "stopped by SIGINT before there was anything to save")
        return 130
    except reproduce.Stopped as stopped:
        if is_first():
            _say(errors, f"{stopped}; continue with: {_again(arguments)}")
        return stopped.status
    except (ValueError, ArithmeticError, OSError) as error:
        _say(errors, str(error))
        return 1
    return result if isinstance(result, int) else 0


def _again(arguments: list[str]) -> str:
    """Return the words that continue a run which these began."""
    words = [word for word in arguments if word not in ("--force", "--resume")]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return f"torchrun as before, and {shlex.join([*words, '--resume'])}"
    return f"hardgrad {shlex.join([*words, '--resume'])}"


def _say(console: Console, message: str) -> None:
    console.print(f"hardgrad: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


def _version() -> str:
    try:
        return metadata.version("hardgrad")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
