"""The published program: which quirks a variant turns off, and how long it trains. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.record import Run

BATCHED = "switch-batched"
_ALL = (
    "shared_optimizer", "identical_start", "raises_outside", "shifted_history", "unsaved_last", "shared_memory",
    "gelu_output", "small_start",
)  # fmt: skip
# Each variant, and the quirks that it turns off. Raising, filing and saving change no weight: they have no row alone.
VARIANTS: dict[str, tuple[str, ...]] = {
    "as-published": (),
    "own-optimizer": ("shared_optimizer",),
    "own-start": ("identical_start",),
    "no-memory": ("shared_memory",),
    "linear-output": ("gelu_output",),
    "usual-start": ("small_start",),
    "switch-row-by-row": _ALL,
    BATCHED: _ALL,
}
PRESETS: dict[Budget, dict[str, int]] = {
    "smoke": {"passes": 1, "rows": 60},
    "small": {"passes": 10, "rows": 0},
    "paper": {"passes": 51, "rows": 0},
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One variant of the published program.

    Args:
        variant: one of ``VARIANTS``.
        budget: the preset the other values started from.
        passes: over the training rows; published are 51.
        rows: training rows, the first ones; 0 takes all.
        batch: rows in a step of the batched switch; the others take one.
    """

    variant: str
    budget: Budget
    passes: int
    rows: int
    batch: int = 16

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        require(self.variant in VARIANTS, "variant", f"one of {', '.join(VARIANTS)}", self.variant)
        for name, least in {"passes": 1, "rows": 0, "batch": 1}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))

    def run(self, seed: int) -> Run:
        """Return the identity of the run of this configuration with ``seed``."""
        return Run(experiment="published", label=f"{self.variant}-{self.budget}", config=asdict(self), seed=seed)


def configure(budget: Budget, variant: str, given: Mapping[str, Any]) -> Published:
    """Return the configuration of a variant, with the given values in place of the preset's."""
    return replace(Published(variant=variant, budget=budget, **PRESETS[budget]), **given)
