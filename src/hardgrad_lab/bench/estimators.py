"""What a Monte Carlo gradient costs: each estimator over one evaluation of f with its backward, and over what it needs.

The estimators' time has that of making q in it, which a row of its own tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import RelaxedBernoulli

import hardgrad as hg
from hardgrad_lab.bench import needs
from hardgrad_lab.bench.needs import KINDS, OBJECTIVES, UNITS, Case
from hardgrad_lab.bench.race import Contender, race


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What to measure.

    Args:
        batches: batch sizes.
        kinds: of distributions: 200 Bernoulli units, or 20 one-hot units of 10 ways.
        objectives: a decoder 200 -> 200 -> 784 with its cross-entropy, or a weighted sum squared.
        seconds: how long to measure each cell.
        peers: whether to run the others' too.
        device: where it all is.
    """

    batches: tuple[int, ...] = (24, 256)
    kinds: tuple[str, ...] = KINDS
    objectives: tuple[str, ...] = OBJECTIVES
    seconds: float = 5.0
    peers: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Cost:
    """One estimator: evaluations of f, and its time over one evaluation and over what it needs (peers have none)."""

    evaluations: int
    over_one: float
    over_needs: float | None


@dataclass(frozen=True)
class Cell:
    """One distribution, objective and batch size: microseconds of one evaluation, and every estimator's cost."""

    kind: str
    objective: str
    batch: int
    one: float
    costs: dict[str, Cost]


@dataclass(frozen=True)
class Entry:
    """An estimator of the table.

    Args:
        call: takes q and f.
        evaluations: of f.
        needs: what it could not do without.
        learns: what it trains.
    """

    call: Callable[..., Tensor]
    evaluations: int
    needs: Contender
    learns: nn.Module | None = None


def entries(case: Case) -> dict[str, Entry]:
    """Return the estimators that a distribution allows, and what each needs."""
    one = needs.through(case)
    found = {
        "score function": Entry(hg.score_function, 1, needs.values(case, 1)),
        "score function, moving average": _with(
            hg.score_function, "baseline", hg.montecarlo.MovingAverage(), 1, needs.values(case, 1)
        ),
        **{
            f"score function, {k} draws, leave-one-out": Entry(
                partial(hg.score_function, samples=k, baseline="leave_one_out"), k, needs.values(case, k)
            )
            for k in (2, 8)
        },
        "straight-through": Entry(hg.montecarlo.straight_through_estimator, 1, one),
        "reinmax": Entry(hg.reinmax, 1, one),
        "gumbel, soft": Entry(partial(hg.gumbel, hard=False), 1, one),
        "gumbel, hard": Entry(hg.gumbel, 1, one),
        "gumbel-rao, 10 inner": Entry(hg.gumbel_rao, 1, one),
        "gapped": Entry(hg.gapped, 1, one),
        "double control variates, 2 draws": Entry(hg.double_cv, 2, needs.through(case, 2)),
        "rebar": Entry(hg.rebar, 2, needs.rebar(case, learn=False)),
        "rebar, learnt": _with(hg.rebar, "control", hg.montecarlo.RebarControl(), 2, needs.rebar(case, learn=True)),
        "relax": _relaxed(case),
    }
    ways = 2 if case.kind == "bernoulli" else needs.WAYS
    found["each unit, 1 of them"] = Entry(partial(hg.each_unit, units=1), ways, needs.values(case, ways))
    if case.kind == "one-hot":
        found["carms, 4 draws"] = Entry(hg.carms, 4, needs.values(case, 4))
    if case.kind == "bernoulli":
        found["disarm"] = Entry(hg.disarm, 2, needs.values(case, 2))
        found["arms, 4 draws"] = Entry(hg.arms, 4, needs.values(case, 4))
        found["bridge"] = _with(hg.montecarlo.bridge_estimator, "approximator", hg.approximators.elementwise(), 1, one)
    return found


def _with(call: Callable[..., Tensor], name: str, module: nn.Module, evaluations: int, needs: Contender) -> Entry:
    return Entry(partial(call, **{name: module}), evaluations, needs, module)


def _relaxed(case: Case) -> Entry:
    network = hg.approximators.mlp(UNITS, 1)
    control = network if case.kind == "bernoulli" else nn.Sequential(nn.Flatten(-2), network)
    return _with(hg.relax, "control", control, 1, needs.relax(case, control))


def _step(case: Case, entry: Entry) -> Contender:
    def step() -> None:
        entry.call(case.q(), case.f).mean().backward()

    def forget() -> None:
        case.forget()
        if entry.learns is not None:
            entry.learns.zero_grad()

    return Contender(step, before=forget)


def peers(case: Case) -> dict[str, Contender]:
    """Return what torch has, and ``reinmax`` where that is installed, as their users call them."""
    found: dict[str, Callable[[], Tensor]] = {}
    if case.kind == "bernoulli":
        found["torch, RelaxedBernoulli"] = lambda: RelaxedBernoulli(
            case.logits.new_tensor(1.0), logits=case.logits
        ).rsample()
    else:
        found["torch, gumbel_softmax soft"] = lambda: F.gumbel_softmax(case.logits, hard=False)
        found["torch, gumbel_softmax hard"] = lambda: F.gumbel_softmax(case.logits, hard=True)
        if find_spec("reinmax") is not None:
            module: Any = __import__("reinmax")
            found["reinmax package"] = lambda: module.reinmax(case.logits, 1.0)[0]

    def step(sample: Callable[[], Tensor]) -> None:
        case.f(sample()).mean().backward()

    def score_function() -> None:
        q = case.q()
        b = q.sample()
        value = case.f(b)
        (value + value.detach() * q.log_prob(b)).mean().backward()

    return {
        "torch, making q alone": Contender(case.q),
        "torch, score function by hand": Contender(score_function, before=case.forget),
        **{name: Contender(partial(step, sample), before=case.forget) for name, sample in found.items()},
    }


def measure(grid: Grid) -> Iterator[Cell]:
    """Measure the grid, cell by cell."""
    for kind in grid.kinds:
        for objective in grid.objectives:
            for batch in grid.batches:
                yield measure_cell(grid, kind, objective, batch)


def measure_cell(grid: Grid, kind: str, objective: str, batch: int) -> Cell:
    """Measure one distribution, one objective and one batch size."""
    torch.manual_seed(0)
    with torch.device(grid.device):
        case = Case(kind, objective, batch)
        known = entries(case)
        others = peers(case) if grid.peers else {}
        contenders = {"one": needs.one(case), **others}
    for name, entry in known.items():
        contenders |= {name: _step(case, entry), f"needs {name}": entry.needs}
    taken = race(contenders, grid.seconds, device=grid.device)
    one = taken["one"]
    costs = {
        name: Cost(entry.evaluations, taken[name] / one, taken[name] / taken[f"needs {name}"])
        for name, entry in known.items()
    }
    costs |= {name: Cost(1, taken[name] / one, None) for name in others}
    return Cell(kind, objective, batch, 1e6 * one, costs)
