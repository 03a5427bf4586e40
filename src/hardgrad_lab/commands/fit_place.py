"""Where a fit puts its model: whether it may, whether it is alone there, and whether there is room for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

INPUTS = 16  # columns that the room for a fit is reckoned with, before any file is read
REPORT_BYTES = 4_000_000  # of a report, with room to spare


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of a model to come.

    Args:
        out: the folder.
        saved: the checkpoint while the fit is under way.
        resume: go on with a fit that was stopped.
        force: replace what is there.
    """

    out: Path
    saved: Path
    resume: bool
    force: bool

    def is_done(self, console: Console) -> bool:
        """Return whether the model that a fit is to be continued to is there already, and say so."""
        done = self.resume and not self.saved.exists() and (self.out / "model.json").is_file()
        if done:
            said = f"this fit is done already, nothing was trained: {self.out}"
            console.print(said, highlight=False, soft_wrap=True)
        return done

    @contextmanager
    def alone(self, console: Console) -> Iterator[None]:
        """Keep other fits from this place, and sweep away what killed ones left there."""
        from hardgrad_lab.runs.atomic import sweep
        from hardgrad_lab.runs.lock import locked
        from hardgrad_lab.runs.model_folder import sweep_folder

        with locked(self.out, f"--out {self.out}", "choose another --out") as before:
            if before is not None:
                said = f"{before} was fitting this model and is gone; this process takes over"
                console.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
            sweep(self.saved, alone=True)
            sweep_folder(self.out, alone=True)
            yield

    def check(self) -> None:
        """Raise a ValueError if something is in the way."""
        begun = self.saved.exists()
        if begun and not (self.resume or self.force):
            raise ValueError(
                f"this fit was begun before and not finished ({self.saved}); add --resume to continue it, or --force "
                "to start again"
            )
        from hardgrad_lab.runs.model_folder import check_free

        check_free(self.out, force=self.force or (self.resume and begun))

    def ask_for_room(self, options: Mapping[str, Any]) -> None:
        """Raise an ``OSError`` now if the model or its checkpoint cannot be written once they are there.

        Args:
            options: of the estimator.
        """
        from hardgrad_lab.runs.space import ask_for_room

        widths = [options["window"] * INPUTS, *options["hidden"], 1]
        weights = sum(a * b for a, b in pairwise(widths)) * options["search"]
        # A checkpoint has weights, the optimizer's two averages and the best weights, of the switch and its rivals.
        ask_for_room(self.saved, REPORT_BYTES + 4 * weights * 4 * 4, "this fit")
        ask_for_room(self.out, 1, "this fit")
