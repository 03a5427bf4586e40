"""One run: a network before a box, trained by one gradient until the calls are spent, tested on other recordings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.boxes import Trial
from hardgrad_lab.experiments.bridges.boxes.problem import (
    KNOBS,
    Approximator,
    Controller,
    Filter,
    hidden,
    rows_of,
    strange_taps,
)
from hardgrad_lab.experiments.bridges.boxes.programs import box_of
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.whole import Result, run_whole

BATCH, DRAWS, POINTS = 4, 4, 12  # rows of a step, draws of the score function, looks along a run
LEARNED_LR, LEARNED_BATCH, SEEN = 0.01, 8, 4  # of an approximator; a row it is shown beforehand it sees four times
COST = {"two-point": 3, "two-point-weights": 3, "score-function": DRAWS}  # calls for one row of a step; of the others 1
Loss = Callable[[Tensor, Tensor], Tensor]


def reproduce(run: Run, trial: Trial, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train and say what came of it, or find the record; see ``runs.whole.run_whole``."""
    done = run_whole(run, lambda: trained(trial, seed, root), how, console)
    esr, calls = done.record.metrics["esr"], done.record.metrics["box_calls"]
    console.print(f"  ESR {done.record.curve[0]['esr']:.2g} -> {esr:.2g} in {calls:,.0f} calls of {trial.task}")
    return done


def trained(trial: Trial, seed: int, root: Root) -> Result:
    """Return what a run comes to. Targets and tests are made by another copy of the box, whose calls do not count."""
    box, judge = box_of(trial.task), box_of(trial.task)
    dry, test = rows_of(trial, root, seed)
    torch.manual_seed(seed)
    teacher = hidden(trial, dry)
    net = Controller() if trial.task == "knobs" else Filter()
    with torch.no_grad():
        wanted, truth, y = judge(teacher(dry)), judge(teacher(test)), judge(net(test))
    gain = (y * truth).sum(1, keepdim=True) / y.square().sum(1, keepdim=True).clamp(min=1e-9)
    curve: list[dict[str, float]] = []

    def look() -> None:
        with torch.no_grad():
            curve.append({"calls": box.calls, "esr": errors(judge(net(test)), truth).mean().item()})

    look()
    loss, learned = contestant(trial, net, box, dry)
    steps = max((trial.calls - box.calls) // (BATCH * COST.get(trial.contestant, 1)), 1)
    adam = torch.optim.Adam([{"params": list(net.parameters()), "lr": trial.lr}, {"params": learned, "lr": LEARNED_LR}])
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(dry), (BATCH,))
        adam.zero_grad()
        loss(dry[chosen], wanted[chosen]).backward()
        adam.step()
        falling.step()
        if step % -(-steps // POINTS) == 0 or step == steps:
            look()
    metrics = {"esr": curve[-1]["esr"], "esr_none": curve[0]["esr"], "esr_gain": errors(gain * y, truth).mean().item()}
    return Result(metrics={**metrics, "box_calls": box.calls}, samples=steps * BATCH, curve=curve)


def errors(y: Tensor, target: Tensor) -> Tensor:
    """Return each row's error-to-signal ratio."""
    return (y - target).square().sum(-1) / target.square().sum(-1).clamp(min=1e-3)


def contestant(trial: Trial, net: nn.Module, box: hg.BlackBox, dry: Tensor) -> tuple[Loss, list[nn.Parameter]]:
    """Return the loss with a gradient, and the weights of the gradient's own that are still to learn."""
    if trial.contestant in COST:
        return _from_values(trial, net, box), []
    if trial.contestant == "straight-through":
        layer: nn.Module = hg.straight_through(box)
    elif trial.contestant == "bridge-frozen":  # with an approximator that stands still: straight-through, a soft twin
        layer = hg.straight_through(box, soft=_learned(trial, box, dry).requires_grad_(False))
    else:
        layer = hg.Bridge(box, _learned(trial, box, dry))
    own = [weights for weights in layer.parameters() if weights.requires_grad]
    return lambda x, target: errors(layer(net(x)), target).mean(), own


def _from_values(trial: Trial, net: nn.Module, box: hg.BlackBox) -> Loss:
    """Return the loss of what moves the box's input, its knobs alone where it has some, or the weights before it."""
    knobs, weights = trial.task == "knobs", trial.contestant == "two-point-weights"
    first, *further = trial.scale
    scale = torch.tensor(trial.scale) if further else first

    def place(x: Tensor) -> Tensor:
        at: Tensor = net.taps.expand(len(x), -1) if isinstance(net, Filter) and weights else net(x)
        return at[:, :KNOBS] if knobs else at

    def f(at: Tensor, x: Tensor) -> Tensor:
        y: Tensor = box(net(x, at) if weights else torch.cat([at.clamp(0, 1), x], 1) if knobs else at)
        return y

    def scored(x: Tensor, target: Tensor) -> Tensor:
        def each(draws: Tensor) -> Tensor:
            return errors(f(draws.flatten(0, 1), x.repeat(DRAWS, 1)).unflatten(0, draws.shape[:2]), target)

        q = Independent(Normal(place(x), scale), 1)
        return hg.score_function(q, each, samples=DRAWS, baseline="leave_one_out").mean()

    layer = hg.perturb(f, (scale, None), low=(0.0, None) if knobs else None, high=(1.0, None) if knobs else None)
    both: Loss = lambda x, target: errors(layer(place(x), x), target).mean()  # noqa: E731
    return scored if trial.contestant == "score-function" else both


def _learned(trial: Trial, box: hg.BlackBox, dry: Tensor) -> nn.Module:
    """Return an approximator that was shown the box on rows of strange filters, or at any knobs."""
    count, knobs = max(int(trial.share * trial.calls), 1), trial.task == "knobs"
    found, x = Approximator(KNOBS if knobs else 0), dry[torch.randint(len(dry), (count,))]
    with torch.no_grad():
        x = torch.cat([torch.rand(count, KNOBS), x], 1) if knobs else Filter()(x, strange_taps(count))
        y = torch.cat([box(part) for part in x.split(64)])
    adam = torch.optim.Adam(found.parameters(), LEARNED_LR)
    for _ in range(SEEN * count // LEARNED_BATCH):
        chosen = torch.randint(count, (LEARNED_BATCH,))
        adam.zero_grad()
        (found(x[chosen]) - y[chosen]).square().mean().backward()
        adam.step()
    return found
