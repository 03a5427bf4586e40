"""What is done with a hostile file of each kind, and what must hold of it afterwards: laws of ``test_trust.py``."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from rich.console import Console

from hardgrad_lab import SwitchRegressor, save_model
from hardgrad_lab.app import guarded
from hardgrad_lab.commands import fit
from hardgrad_lab.commands.predict import predict
from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.config import Sorting, configure
from hardgrad_lab.report.experiment import page_of
from hardgrad_lab.report.section import as_markdown
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.records import read_records
from lab.hostile_files import CANARY, KINDS, hostile
from lab.sorting_runs import reproduce, run_of

SMALL = {"samples": 64, "batch": 32, "width": 8, "test_rows": 20, "curve_rows": 10, "evaluations": 2}
CODE = "open(r'{{ran}}', 'w').close()\ndef go(*numbers): raise SystemExit(0)\n"


@dataclass
class Trials:
    """A folder with one good file of each kind, and the hostile ones tried in its place.

    Args:
        root: an empty folder; commands are run in ``inside`` of it.
    """

    root: Path
    broken: list[str] = field(default_factory=list)
    tried: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.inside = self.root / "inside"
        self.inside.mkdir()
        os.chdir(self.inside)
        self.config: Sorting = configure("fast", "signum-dense", 3, SMALL)
        (self.inside / f"{CANARY}.py").write_text(CODE.format(ran=self.root / "ran"))
        (self.root / "mine.txt").write_text("nobody's business")
        self.files: dict[str, Path] = {name: Path(place) for name, place in _make(self.config).items()}
        self.whole = {name: path.read_bytes() for name, path in self.files.items()}

    def run(self, kind: str, number: int) -> None:
        """Try one hostile file, note every law that it broke, and put the good file back."""
        path, before = self.files[kind], self._seen()
        content = hostile(kind, number, self.whole[kind])
        path.write_bytes(content)
        said, status = io.StringIO(), -1
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                status = guarded(_DONE[kind](self))
        except BaseException as error:  # whatever comes out here would be a traceback on a user's screen
            self._note(kind, number, f"{type(error).__name__}: {error}")
        self.tried += 1
        self.refused += status == 1
        lines = said.getvalue().splitlines()
        if status == 1 and not (len(lines) == 1 and lines[0].startswith("hardgrad: ") and lines[0].isprintable()):
            self._note(kind, number, f"said {lines}")
        if status == 1 and path.read_bytes() != content:
            self._note(kind, number, "the file was changed")
        self._put_back(kind)
        if (after := self._seen()) != before:
            self._note(kind, number, f"left or changed {[name for name in after if after[name] != before.get(name)]}")
        if CANARY in sys.modules or (self.root / "ran").exists() or Path("ran").exists():
            self._note(kind, number, "code was run")

    def _note(self, kind: str, number: int, what: str) -> None:
        self.broken.append(f"{kind} {number}: {what[:300]}")

    def _put_back(self, kind: str) -> None:
        self.files[kind].write_bytes(self.whole[kind])
        for made in ("predictions.csv", f"results/{run_of(self.config, 0).name}.json"):
            if kind != "record.json":
                Path(made).unlink(missing_ok=True)

    def _seen(self) -> dict[str, str]:
        """Return all files in and around the folder, by their content."""
        found = [path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _make(config: Sorting) -> dict[str, str]:
    """Make one good file of each kind in the working folder, and return their places."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, 40)
    data = pd.DataFrame({"x": x, "z": draw.normal(size=40), "y": np.abs(x)})
    data.to_csv("table.csv", index=False)
    data.to_csv("good.csv", index=False)
    data.to_parquet("table.parquet")
    for name in ("sound.wav", "wet.wav"):
        soundfile.write(name, 0.5 * x, 8000)
    model = SwitchRegressor([-1, 0, 1], hidden=(4,), epochs=2, random_state=0)
    save_model(model.fit(data[["x", "z"]], data["y"]), "model", {"target": "y"})
    quiet = Console(quiet=True)
    for seed, folder in ((0, "results"), (0, "records")):
        reproduce(config, seed, How(results=Path(folder)), quiet)
    run = run_of(config, 0)
    run.record_path(Path("results")).unlink()
    for stray in Path("records/checkpoints").iterdir():
        stray.unlink()
    return {
        "model.json": "model/model.json",
        "weights.safetensors": "model/weights.safetensors",
        "record.json": str(run.record_path(Path("records"))),
        "checkpoint.pt": str(run.checkpoint_path(Path("results"))),
        "table.csv": "table.csv",
        "table.parquet": "table.parquet",
        "sound.wav": "sound.wav",
    }


def _predicted(trials: Trials) -> Callable[[], object]:
    return lambda: predict(Path("model"), Path("good.csv"), force=True)


def _read(name: str, target: str, options: fit.TableOptions) -> Callable[[Trials], Callable[[], object]]:
    def read() -> None:
        fit.read_files([Path(name)], target, options, fit.DialectOptions(), fit.SoundOptions())

    return lambda trials: read


def _resumed(trials: Trials) -> Callable[[], object]:
    how = How(results=Path("results"), resume=True)
    return lambda: reproduce(trials.config, 0, how, Console(quiet=True))


def _reported(trials: Trials) -> Callable[[], object]:
    def report() -> None:
        found = read_records(Path("records"))
        made = page_of(SORTING, found, Path("records"))
        if warnings := [*found.warnings, *made.warnings]:
            raise ValueError(warnings[0])
        as_markdown(made)

    return report


_DONE: dict[str, Callable[[Trials], Callable[[], object]]] = {
    "model.json": _predicted,
    "weights.safetensors": _predicted,
    "record.json": _reported,
    "checkpoint.pt": _resumed,
    "table.csv": _read("table.csv", "y", fit.TableOptions(key="x")),
    "table.parquet": _read("table.parquet", "y", fit.TableOptions(key="x")),
    "sound.wav": _read("sound.wav", "wet.wav", fit.TableOptions()),
}


def try_all(root: Path, share: int = 1) -> Trials:
    """Try every hostile file, or one in so many, in an order drawn from a seed.

    Args:
        root: an empty folder.
        share: 1 tries all of them, 4 a quarter.
    """
    torch.set_num_threads(1)
    trials = Trials(root)
    asked = [(kind, number) for kind, (count, _) in KINDS.items() for number in range(0, count, share)]
    random.Random(0).shuffle(asked)
    for kind, number in asked:
        trials.run(kind, number)
    return trials


if __name__ == "__main__":
    found = try_all(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(*found.broken, sep="\n")
    print(f"{found.tried} tried, {found.refused} refused in a line, {len(found.broken)} laws broken")
