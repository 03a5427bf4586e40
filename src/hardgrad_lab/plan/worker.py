"""A process that does jobs, one at a time: ``python -m hardgrad_lab.plan.worker``, started by ``processes``.

It reads one job a line, as JSON, and answers with one line each. What a job prints goes to its log, and so does what
the interpreter says when it crashes. When the other end is closed, by a plan that stops or by its death, the job under
way is saved and stopped, as by SIGTERM.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from rich.console import Console

from hardgrad_lab.plan.jobs import folder_of
from hardgrad_lab.plan.work import LINE, Result, Setup, work
from hardgrad_lab.runs.record import Run


def log_of(run: Run, out: Path) -> Path:
    """Return the file that holds what a job printed."""
    return out / "logs" / f"{run.name}.log"


def main() -> None:
    """Do jobs until no more come."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    faulthandler.enable()
    asked: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, asked), daemon=True).start()
    while line := asked.get():
        question = json.loads(line)
        result = _logged(Run(**question["run"]), Setup.from_json(question["setup"]))
        print(json.dumps(asdict(result)), file=answers, flush=True)
        if result.status == "stopped":
            return


def _listen(questions: TextIO, asked: SimpleQueue[str]) -> None:
    for line in questions:
        asked.put(line)
    asked.put("")
    signal.raise_signal(signal.SIGTERM)  # os.kill would end the process at once on Windows


def _logged(run: Run, setup: Setup) -> Result:
    path = log_of(run, setup.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        return work(run, setup, folder_of(run, setup.out), Console(file=log, width=LINE, emoji=False))


if __name__ == "__main__":
    main()
