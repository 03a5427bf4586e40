"""How far a command walks: the files of ours of which it enters at least one function, smoke sizes.

    python tests/lab/walk.py            all four
    python tests/lab/walk.py density    one, with its files in the order in which they are entered first

Run it against another checkout with PYTHONPATH, and the numbers of two houses stand beside each other. What runs while
a module is imported does not count.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

DATA = Path(__file__).parent / "samples"
OURS = ("/hardgrad/", "/hardgrad_lab/")
ONE = ("--budget", "smoke", "--seeds", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "rows.csv", "--target", "y", "--key", "x", "--epochs", "2", "--out", "model"),
    "sorting": ("reproduce", "sorting", *ONE),
    "piecewise": ("reproduce", "piecewise", *ONE, "--task", "talk", "--contestant", "switch"),
    "density": (
        "reproduce", "density", *ONE, "--task", "mnist-static", "--contestant", "bridge", "--data", str(DATA),
    ),
}  # fmt: skip


class Walk:
    """The files entered, in the order of the first time; called as a profile function."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.imports = 0  # modules that are being imported

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_name == "<module>" and event in ("call", "return"):
            self.imports += 1 if event == "call" else -1
        function = event == "call" and not self.imports and bool(code.co_flags & 1)  # a function's body, not a class's
        if function and code.co_filename.endswith(".py") and any(part in code.co_filename for part in OURS):
            self.files.setdefault(code.co_filename, code.co_name)


def walk(words: tuple[str, ...]) -> dict[str, str]:
    """Return the files that a command enters, each with the function it is entered by."""
    from hardgrad_lab.cli import main

    found = Walk()
    threading.setprofile(found)
    sys.setprofile(found)
    try:
        status = main(words)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if status:
        raise SystemExit(status)
    return found.files


def main() -> None:
    """Walk the commands asked for, each in a process of its own, and print what they entered."""
    import contextlib
    import io
    import os
    import subprocess

    asked = sys.argv[1:]
    if len(asked) != 1:
        for name in asked or COMMANDS:
            line = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True).stdout
            print(line.splitlines()[-1])
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        rows = [f"{i / 100},{abs(i / 100 - 0.5)}" for i in range(100)]
        Path("rows.csv").write_text("\n".join(["x,y", *rows]) + "\n", encoding="utf-8")
        files = walk(COMMANDS[asked[0]])
        os.chdir("/")
    for path, function in files.items():
        print(f"{path.rpartition('/src/')[2]}: {function}")
    print(f"{asked[0]:<10} {len(files)} files")


if __name__ == "__main__":
    main()
