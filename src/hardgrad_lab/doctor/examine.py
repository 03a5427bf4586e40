"""One examination from beginning to end: what is compared, the diagnosis, and its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import torch

import hardgrad as hg
from hardgrad_lab.doctor.case import Case
from hardgrad_lab.doctor.load import instance, load
from hardgrad_lab.doctor.record import Examination
from hardgrad_lab.runs.record import describe_environment

Noise = Literal["auto", "gaussian", "logistic", "gumbel"]
Truth = Literal["auto", "enumeration", "finite difference", "long run"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How to examine.

    Args:
        noise: what smooths a hard function.
        sigma: scale of the noise; None for half the inputs' spread.
        draws: gradients of each candidate; None for 1000 or more, as the library has it.
        truth: how to find it.
        seed: of everything.
        seconds: that it may take; None for as many as it takes.
    """

    noise: Noise = "auto"
    sigma: float | None = None
    draws: int | None = None
    truth: Truth = "auto"
    seed: int = 0
    seconds: float | None = None


def every_candidate(case: Case, noise: str = "auto", seed: int = 0) -> dict[str, Any]:
    """Return the candidates that suit a case, the doctor's and the case's own; ``seed`` is of the weights they have."""
    torch.manual_seed(seed)
    return dict(hg.doctor.candidates(case.function, case.inputs, noise=noise)) | case.extra


def chosen(names: str | None, every: Mapping[str, Any]) -> dict[str, Any]:
    """Return some of the candidates by name, and the user's own by ``module:name``; all if none are named.

    A name of a method stands for all its variants: ``straight_through`` for ``straight_through, clipped`` too.

    Raises:
        ValueError: if a name is unknown, or the user's cannot be loaded.
    """
    if names is None:
        return dict(every)
    found: dict[str, Any] = {}
    for name in (word.strip() for word in names.split(",")):
        variants = {each: every[each] for each in every if each.split(",")[0] == name}
        if ":" in name:
            found[name] = instance(load(name, "--estimators"), name)
        elif variants:
            found |= variants
        else:
            known = ", ".join(dict.fromkeys(each.split(",")[0] for each in every))
            raise ValueError(f"--estimators: there is no {name!r} here; there are {known}, and module:name for yours")
    return found


def examine(
    case: Case, given: Mapping[str, Any], asked: Asked, progress: Callable[[hg.doctor.Progress], None] | None = None
) -> Examination:
    """Return what the doctor found, also if it was stopped by hand after some of the candidates.

    Args:
        case: the function, where it is looked at, and what its output is judged by.
        given: the candidates, by name.
        asked: how to examine.
        progress: called as it goes on.

    Raises:
        KeyboardInterrupt: if it was stopped before any candidate was measured.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    try:
        found = hg.diagnose(
            given,
            case.function,
            case.inputs,
            objective=case.objective,
            noise=asked.noise,
            sigma=asked.sigma,
            draws=asked.draws,
            truth=asked.truth,
            budget=case.budget,
            warm_up=case.warm_up,
            generator=torch.Generator().manual_seed(asked.seed),
            seconds=asked.seconds,
            progress=progress,
        )
    except hg.doctor.Stopped as stopped:
        found = stopped.diagnosis
    return Examination(
        name=case.name,
        title=case.title,
        about=case.about,
        source=case.source,
        options={
            "noise": asked.noise,
            "sigma": asked.sigma,
            "draws": asked.draws,
            "truth": asked.truth,
            "seed": asked.seed,
            "warm_up": case.warm_up,
            "budget": case.budget,
            "seconds": asked.seconds,
            "dtype": str(getattr(case.inputs, "dtype", torch.get_default_dtype())).removeprefix("torch."),
        },
        diagnosis=found,
        seconds=time.perf_counter() - clock,
        started=started,
        environment=describe_environment({"device": found.device, "threads": torch.get_num_threads()}),
    )
