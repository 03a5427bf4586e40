"""``hardgrad --install-completion``: the script by which a shell completes our commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App


def install(app: App, shell: Any, output: Path | None) -> int:
    """Write the script of a shell, and say what is done to make the shell read it.

    Args:
        app: the whole command line.
        shell: its name; None for the one that runs.
        output: where to write the script; None for where the shell looks for it, and then a line is added to the file
            that the shell reads when it starts.

    Raises:
        ValueError: if the running shell is none that is known.
    """
    from cyclopts.completion import ShellDetectionError, detect_shell

    try:
        shell = shell or detect_shell()
    except ShellDetectionError:
        raise ValueError("--shell must be bash, zsh, fish or powershell; the one that runs is not known") from None
    path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
    print(f"{shell} completion is written to {path}")
    if output is not None:
        by_hand = {"zsh": "put its folder into fpath before compinit runs", "powershell": f"load it with: . {path}"}
        print(by_hand.get(shell, f"load it with: source {path}"))
    elif shell == "fish":
        print("fish reads it by itself; open a new shell")
    else:
        print(f"the file that {shell} reads when it starts has a line that loads it; open a new shell")
    return 0
