"""The published program: which quirks a variant turns off, and how long it trains. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Ask, Budget, Experiment
from hardgrad_lab.runs.options import require

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


@dataclass(frozen=True, kw_only=True)
class Program:
    """One variant of the published program.

    Args:
        task: the only one, ``published``; records leave it out.
        contestant: the variant, one of ``VARIANTS``.
        budget: the preset the other values started from.
        passes: over the training rows; published are 51.
        rows: training rows, the first ones; 0 takes all.
        batch: rows in a step of the batched switch; the others take one.
    """

    task: str = "published"
    contestant: str
    budget: Budget
    passes: int
    rows: int
    batch: int = 16

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        require(self.contestant in VARIANTS, "contestant", f"one of {', '.join(VARIANTS)}", self.contestant)
        for name, least in {"passes": 1, "rows": 0, "batch": 1}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))


PUBLISHED = Experiment(
    name="published",
    about="Run the published program row by row, with and without its quirks, and the batched switch on the same rows.",
    source="the published program of the differentiable IF",
    config=Program,
    program="hardgrad_lab.experiments.switches.program.run",
    tasks={"published": {}},
    contestants={name: {} for name in VARIANTS},
    budgets={
        "smoke": {"passes": 1, "rows": 60},
        "small": {"passes": 10, "rows": 0},
        "paper": {"passes": 51, "rows": 0},
    },
    seeds={"smoke": 1, "small": 3, "paper": 3},
    keys={"task": "", "contestant": "variant"},
    label=lambda values: "{variant}-{budget}".format(**values),
    ask=Ask(options={"contestant": "variant"}, seeds=3),
    page="hardgrad_lab.experiments.switches.program.section:page",
    sections="hardgrad_lab.experiments.switches.program.section:in_brief",
    brief=True,
)
