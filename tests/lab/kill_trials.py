"""Kill commands at random moments, go on with them, and compare what comes out with an uninterrupted run, bit for bit.

    python tests/lab/kill_trials.py sorting fit all --kills 100 --out kills.json

Each trial starts a command in an empty folder, kills it (SIGKILL) at a moment drawn evenly over the time that an
uninterrupted one took, gives the same command again with ``--resume``, and compares: records and ``model.json`` without
what a clock says, weights, optimizers, random numbers and curves; and the folder, in which nothing may be left over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hardgrad_lab.cli import main as main_of_hardgrad

CLOCKS = {"seconds", "started", "environment", "machine", "files"}  # what differs between two equal runs
SORTING = "reproduce sorting --length 3 --samples 3200 --batch 32 --width 16 --test-rows 200 --curve-rows 100"
COMMANDS = {
    "sorting": f"{SORTING} --evaluations 10 --checkpoint-steps 7 --out run",
    "fit": "fit data.csv --target y --key x --search 2 --hidden 8 --epochs 20 --checkpoint-steps 7 --out model",
    "all": "reproduce all --budget smoke --only sorting --jobs 2 --out run",
}


def words(name: str, *, resume: bool) -> list[str]:
    """Return the words of a command; ``reproduce all`` goes on by itself."""
    more = ["--resume"] if resume and name != "all" else []
    return [*COMMANDS[name].split(), *more]


def start(asked: list[str], folder: Path) -> int:
    """Start a command in a folder and return its process; what it says goes to ``said`` beside the folder.

    A fork of this process, which has imported everything: so the kills fall into the work, not into the imports.
    """
    if process := os.fork():
        return process
    status = 1
    try:
        os.chdir(folder)
        said = os.open(f"{folder}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        status = main_of_hardgrad(asked)
    finally:
        os._exit(status)


def end(process: int) -> int:
    """Wait for a process and return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextmanager
def empty_folder() -> Iterator[Path]:
    """Give a folder with a table in it."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    rows = (f"{i / 200 - 1},{abs(i / 200 - 1) + 0.01 * ((7 * i) % 11)}\n" for i in range(400))
    (folder / "data.csv").write_text("x,y\n" + "".join(rows))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.said").unlink(missing_ok=True)


def whole(name: str) -> tuple[dict[str, Any], float]:
    """Return what an uninterrupted command leaves, and the seconds it took."""
    with empty_folder() as folder:
        began = time.monotonic()
        if status := end(start(words(name, resume=False), folder)):
            raise RuntimeError(f"{name} ends with {status}: {said_in(folder)}")
        return left(folder), time.monotonic() - began


def killed(name: str, moment: float) -> tuple[dict[str, Any], str]:
    """Return what a command leaves that was killed at a moment and went on, and what it had left when it was killed."""
    with empty_folder() as folder:
        process = start(words(name, resume=False), folder)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        end(process)
        there = {path.suffix for path in folder.rglob("*") if path.is_file()}
        stage = "checkpoint" if ".pt" in there else "done" if ".json" in there else "nothing"
        if status := end(start(words(name, resume=True), folder)):
            return {"error": f"{status}: {said_in(folder)}"}, stage
        return left(folder), stage


def said_in(folder: Path) -> str:
    """Return the end of what a command said."""
    return Path(f"{folder}.said").read_text()[-500:]


def left(folder: Path) -> dict[str, Any]:
    """Return what a folder holds, without what clocks say; reports are drawn from it, and logs tell of its making."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or "report" in name or "logs" in path.parts:
            continue
        if path.suffix == ".json":
            found[name] = digest(without_clocks(json.loads(path.read_text())))
        elif path.suffix == ".pt":
            found[name] = digest(without_clocks(torch.load(path, weights_only=True)))
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def without_clocks(value: Any) -> Any:
    """Return a value without what is measured by a clock."""
    if isinstance(value, dict):
        return {name: without_clocks(each) for name, each in value.items() if name not in CLOCKS}
    return [without_clocks(each) for each in value] if isinstance(value, list | tuple) else value


def digest(value: Any) -> str:
    """Return a fingerprint of plain values and tensors, the same for equal bits alone."""
    hashed = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, dict):
            for name in sorted(part, key=str):
                hashed.update(str(name).encode())
                add(part[name])
        elif isinstance(part, list | tuple):
            hashed.update(f"[{len(part)}".encode())
            for each in part:
                add(each)
        elif isinstance(part, torch.Tensor):
            hashed.update(f"{part.dtype}{tuple(part.shape)}".encode() + part.contiguous().numpy().tobytes())
        else:
            hashed.update(repr(part).encode())

    add(value)
    return hashed.hexdigest()


def trials(name: str, kills: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Kill a command so many times, and return how often it came out the same."""
    draw = random.Random(f"{name} {seed}")
    expected, seconds = whole(name)
    same, faults = 0, []
    stages: dict[str, int] = {"nothing": 0, "checkpoint": 0, "done": 0}
    for number in range(kills):
        moment = draw.uniform(0, seconds)
        found, stage = killed(name, moment)
        stages[stage] += 1
        same += found == expected
        if found != expected:
            apart = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
            faults.append(
                {"kill": number, "moment": moment, "stage": stage, "apart": apart, "said": found.get("error")}
            )
        tell(f"{name} {number + 1}/{kills}: killed at {moment:.1f} s of {seconds:.1f}, {same} the same")
    return {"command": COMMANDS[name], "kills": kills, "same": same, "left at the kill": stages, "faults": faults}


def main() -> int:
    """Run the trials and write what came of them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("commands", nargs="+", choices=COMMANDS)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

    def tell(line: str) -> None:
        print(line, flush=True)

    found = {name: trials(name, given.kills, given.seed, tell) for name in given.commands}
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(*(f"{name}: {each['same']} of {each['kills']} the same" for name, each in found.items()), sep="\n")
    return 0 if all(each["same"] == each["kills"] for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
