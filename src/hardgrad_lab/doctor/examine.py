"""One examination from beginning to end: what is compared, the diagnosis, and its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab.doctor.case import Case
from hardgrad_lab.doctor.load import load
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
        draws: gradients of each candidate.
        truth: how to find it.
        seed: of everything.
    """

    noise: Noise = "auto"
    sigma: float | None = None
    draws: int = 1000
    truth: Truth = "auto"
    seed: int = 0


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
            found[name] = _instance(load(name, "--estimators"), name)
        elif variants:
            found |= variants
        else:
            known = ", ".join(dict.fromkeys(each.split(",")[0] for each in every))
            raise ValueError(f"--estimators: there is no {name!r} here; there are {known}, and module:name for yours")
    return found


def _instance(found: Any, name: str) -> Any:
    """A module's class is what users name first; one that needs no arguments is made."""
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        return found
    try:
        return found()
    except TypeError as error:
        raise ValueError(f"--estimators: {name} is a class that needs arguments ({error}); name an instance") from None


class Told(dict[str, Any]):
    """Candidates that say whose turn it is, as the doctor goes through them.

    Args:
        given: the candidates.
        tell: called with a name when its turn begins.
    """

    def __init__(self, given: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        super().__init__(given)
        self.tell = tell

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]  # an iterator is all that is asked for
        """Yield names and candidates."""
        for name, candidate in super().items():
            self.tell(name)
            yield name, candidate
        self.tell("cost")


def examine(case: Case, given: Mapping[str, Any], asked: Asked, tell: Callable[[str], None]) -> Examination:
    """Return what the doctor found.

    Args:
        case: the function, where it is looked at, and what its output is judged by.
        given: the candidates, by name.
        asked: how to examine.
        tell: called with whose turn it is.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    tell("truth")
    found = hg.diagnose(
        Told(given, tell),
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
    )
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
            "dtype": str(getattr(case.inputs, "dtype", torch.get_default_dtype())).removeprefix("torch."),
        },
        diagnosis=found,
        seconds=time.perf_counter() - clock,
        started=started,
        environment=describe_environment({"device": found.device, "threads": torch.get_num_threads()}),
    )
