"""An experiment made by hand, and its records, for the tests of reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.published import Claim, Metric, Published
from hardgrad_lab.runs.record import Record


@dataclass(frozen=True, kw_only=True)
class Tea:
    """One configuration of making tea."""

    task: str
    contestant: str
    budget: Any
    leaf: str
    steps: int
    lr: float


def claim(better: str, worse: str, metric: str = "accuracy", task: str = "green") -> Claim:
    return Claim(says=f"{better} beats {worse}", source="fig. 1", task=task, metric=metric, better=better, worse=worse)


ACCURACY = Metric(name="accuracy", title="accuracy", form=".1%")
LOSS = Metric(name="loss", title="loss", form=".2f", better="less")
TEA = Experiment(
    name="tea",
    about="Make tea.",
    source="A book, table 1",
    config=Tea,
    program="nowhere",
    common={"lr": 0.1},
    tasks={"green": {}, "black": {}},
    contestants={"pot": {"leaf": "whole"}, "bag": {"leaf": "dust"}, "tin": {"leaf": "none"}},
    budgets={"smoke": {"steps": 1}, "small": {"steps": 10}, "paper": {"steps": 100}},
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[ACCURACY, LOSS],
    published={
        ("green", "pot"): {"accuracy": Published(value=0.85, spread=0.01, replications=5, source="table 1")},
        ("green", "bag"): {"accuracy": Published(value=0.6, source="table 1")},
        ("black", "pot"): {"accuracy": Published(value=0.7, spread=0.02, replications=5, source="table 1")},
    },
    claims=[claim("pot", "bag")],
)


def write(
    results: Path,
    contestant: str,
    accuracies: list[float],
    *,
    budget: Any = "small",
    task: str = "green",
    samples: int = 2500,
    losses: list[float] | None = None,
    **given: Any,
) -> None:
    """Write one record a value, as runs of seeds 0, 1, ... would."""
    config = TEA.configure(budget, task, contestant, given)
    for seed, accuracy in enumerate(accuracies):
        run = TEA.run(config, seed)
        metrics = {"accuracy": accuracy} | ({} if losses is None else {"loss": losses[seed]})
        record = Record(
            experiment="tea",
            config=run.config,
            seed=seed,
            metrics=metrics,
            curve=[{"samples": samples, "seconds": 1.0, **metrics}],
            samples=samples,
            seconds=60.0 + 60 * seed,
            started=f"2026-01-0{seed + 1}T00:00:00+00:00",
            environment={"versions": {"torch": "2"}, "device": "a <machine>", "threads": 1, "rows": "all leaves"},
        )
        record.save(run.record_path(results))
