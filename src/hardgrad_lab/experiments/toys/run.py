"""One run of a toy: train the variable or survey its probabilities, measure the gradient, write the record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.experiments.toys.config import Toy
from hardgrad_lab.experiments.toys.contestants import Contestant, contestant
from hardgrad_lab.experiments.toys.measure import FLOOR, Gradients, draw_gradients, summary
from hardgrad_lab.experiments.toys.problems import Problem, problem
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.whole import Result, run_whole

REACHED = 0.95  # probability of the better outcome from which a row counts as having found it


def reproduce(run: Run, toy: Toy, seed: int, root: object, how: How, console: Console) -> Outcome:
    """Run one estimator in one toy, or find its record; see ``runs.whole.run_whole``."""
    del root  # there is no data

    def work() -> Result:
        curve = points(toy, seed)
        return Result(metrics=_metrics(toy, curve), samples=toy.steps * toy.batch * toy.rows, curve=curve)

    return run_whole(run, work, how, console)


def points(toy: Toy, seed: int) -> list[dict[str, float]]:
    """Return the points of a run. Torch's global seed must be set."""
    case = problem(toy)
    if toy.estimator == "exact":
        return train(toy, case, None, seed)
    estimator = contestant(toy)
    return train(toy, case, estimator, seed) if toy.steps else survey(toy, case, estimator, seed)


def train(toy: Toy, case: Problem, estimator: Contestant | None, seed: int) -> list[dict[str, float]]:
    """Train the logits of all rows, and what the estimator learns.

    Args:
        toy: what to train.
        case: its problem.
        estimator: its estimator; None goes down the expectation itself.
        seed: of the measurements; torch's global seed decides the rest.

    Returns:
        Points along the way, from before the first step on.
    """
    logits = nn.Parameter(case.start)
    optimizers = _optimizers(toy, logits, estimator)
    every = -(-toy.steps // toy.evaluations)
    curve = [_point(toy, 0, case, estimator, logits, seed)]
    for step in range(1, toy.steps + 1):
        for optimizer in optimizers:
            optimizer.zero_grad()
        _loss(toy, case, estimator, logits).backward()
        for optimizer in optimizers:
            optimizer.step()
        if estimator is not None:
            estimator.step()
        if step % every == 0 or step == toy.steps:
            curve.append(_point(toy, step, case, estimator, logits, seed))
    return curve


def _optimizers(toy: Toy, logits: Tensor, estimator: Contestant | None) -> list[torch.optim.Optimizer]:
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    optimizers: list[torch.optim.Optimizer] = [kinds[toy.optimizer]([logits], lr=toy.lr)]
    learned = [] if estimator is None else list(estimator.parameters())
    return optimizers + ([torch.optim.Adam(learned, lr=toy.learned_lr)] if learned else [])


def _loss(toy: Toy, case: Problem, estimator: Contestant | None, logits: Tensor) -> Tensor:
    """What a step goes down: the sum over rows, so that each row has its own gradient, and the mean over draws."""
    if estimator is None:
        return case.expectation(logits).sum()
    batch = logits.expand(toy.batch, *logits.shape) if toy.problem == "coins" else logits
    values: Tensor = estimator(case.q(batch), case.f(batch))
    return values.mean() if toy.problem == "coins" else values.sum()


def _point(
    toy: Toy, step: int, case: Problem, estimator: Contestant | None, logits: Tensor, seed: int
) -> dict[str, float]:
    """Return one point of the curve. What it draws does not change what the training draws."""
    with torch.no_grad():
        loss = case.expectation(logits).mean().item()
        best = case.probabilities(logits)[..., case.best or 0]
    point = {
        "step": step,
        "loss": loss,
        "best": best.mean().item(),
        "reached": (best >= REACHED).double().mean().item(),
    }
    if estimator is None:  # the truth itself has neither variance nor bias
        return point | {"log_variance": math.log(FLOOR), "bias_in_errors": 0.0, "cosine": 1.0}
    generator = torch.Generator().manual_seed(seed + 1_000_003 * (step + 1))
    return point | summary(draw_gradients(estimator, case, logits, toy.draws, generator))


def survey(toy: Toy, case: Problem, estimator: Contestant, seed: int) -> list[dict[str, float]]:
    """Measure the gradient at every row's probabilities; one point a row."""
    generator = torch.Generator().manual_seed(seed)
    gradients = draw_gradients(estimator, case, case.start, toy.draws, generator)
    probabilities = case.probabilities(case.start)
    return [_row(gradients, row, probabilities[row].tolist()) for row in range(len(case.start))]


def _row(gradients: Gradients, row: int, probabilities: list[float]) -> dict[str, float]:
    places = {f"p{way}": p for way, p in enumerate(probabilities)}
    return places | {
        "log_variance": gradients.variance[row].clamp(min=FLOOR).log().item(),
        "bias_in_errors": gradients.bias_in_errors[row].item(),
        "cosine": gradients.cosine[row].item(),
    }


def _metrics(toy: Toy, curve: list[dict[str, float]]) -> dict[str, float]:
    """Return the last loss, and what the gradient was worth over the whole run."""
    ends = {name: curve[-1][name] for name in ("loss", "best", "reached") if name in curve[-1]}
    told = [point for point in curve if not math.isnan(point["cosine"])]
    return ends | {
        "log_variance": _mean(point["log_variance"] for point in curve),
        "bias_in_errors": math.sqrt(_mean(point["bias_in_errors"] ** 2 for point in told)),
        "cosine": _mean(point["cosine"] for point in told),
        "evaluations_of_f": toy.evaluations_of_f,
    }


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
