"""The ``hardgrad`` command. This module imports the standard library alone, so that it can say what is missing.

It answers signals from its first line on, so it imports next to nothing before. While modules are being imported, an
exception would come out of their middle as one of a dozen others, or as none: then the process ends at once.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than all that is above and below
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

NEEDS = ("cyclopts", "rich", "matplotlib", "jinja2")
STOPS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Windows', in place of the second
IMPORTS = "<frozen importlib._bootstrap>"  # the file of the frames below an import


class Stop(KeyboardInterrupt):
    """A signal came while there was nothing to save.

    Args:
        number: of the signal.
        name: of the signal.
    """

    def __init__(self, number: int, name: str) -> None:
        super().__init__(f"stopped by {name}; what was written before is whole, and there was nothing else to save")
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``hardgrad``; by default those the program was started with.

    Returns:
        The exit status: 0 when all went well.
    """
    before: dict[int, object] = {}
    try:
        _listen(before)
        _print_anything()
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Stop) else Stop(2, "SIGINT")
        print(f"hardgrad: {stop}", file=sys.stderr)
        return stop.status
    finally:
        _listen_no_more(before)


def _run(words: list[str]) -> int:
    from importlib.util import find_spec

    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        print(
            f"hardgrad: the command line needs {', '.join(missing)}; install with: pip install 'hardgrad[lab]'",
            file=sys.stderr,
        )
        return 1
    from hardgrad_lab.app import run

    return run(words)


def _print_anything() -> None:
    """Print a question mark for what the output's encoding has no letter for, such as a frame in ASCII."""
    import io  # Python has loaded it before this file

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def _listen(before: dict[int, object]) -> None:
    """Turn signals into a ``Stop``, or into an end at once in the middle of an import; note what was there before."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may handle signals
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            os._exit(128 + number)  # a fork of this process; the parent speaks
        said = Stop(number, signal.Signals(number).name)
        if not _imports(frame):
            raise said
        if aside := sys.modules.get("hardgrad_lab.runs.aside"):
            getattr(aside, "clear", lambda: None)()  # it may be half imported itself
        os.write(2, f"hardgrad: {said}\n".encode())
        os._exit(said.status)

    for number in [getattr(signal, name) for name in STOPS if hasattr(signal, name)]:
        before[number] = signal.signal(number, stop)


def _listen_no_more(before: dict[int, object]) -> None:
    import signal

    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned


def _imports(frame: FrameType | None) -> bool:
    """Return whether a frame is below an import."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    sys.exit(main())
