"""Many seeds of a sorting run as one stacked model, whose step costs a GPU little more than a single one's.

``python benchmarks/gpu_seeds.py --system signum-dense --length 10 --seeds 8 --seconds 100 --out DIR``. The networks,
the bridge and the penalty are those of ``hardgrad reproduce sorting``; ``torch.func`` stacks their weights, each seed
has its own, from its own seed, and its own rows of one stream. On a GPU the step is one CUDA graph. If the seconds do
not allow all the samples, fewer are planned before the first step, so that the schedule comes to its end.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim._muon import _zeropower_via_newtonschulz

import hardgrad as hg
from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.experiments.bridges.sorting.data import draw, held_out, inputs_of, move_close
from hardgrad_lab.experiments.bridges.sorting.networks import all_or_none, build, sorting_loss
from hardgrad_lab.runs.execute import How, choose_device, describe_machine
from hardgrad_lab.runs.record import Record, describe_environment
from hardgrad_lab.runs.schedule import schedulers

TEST_BATCH = 10_000
MOMENTUM, COEFFICIENTS, ITERATIONS, EPS = 0.95, (3.4445, -4.775, 2.0315), 5, 1e-7  # torch.optim.Muon's
_orthogonal = vmap(lambda update: _zeropower_via_newtonschulz(update, COEFFICIENTS, ITERATIONS, EPS))


class Stack:
    """Several seeds under way.

    Args:
        config: of all of them.
        seeds: one model each.
        device: where they are.
    """

    def __init__(self, config: Sorting, seeds: range, device: torch.device) -> None:
        self.config, self.seeds, self.device = config, seeds, device
        models = []
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(build(config).to(device))
        self.model = models[0]
        self.weights, _ = stack_module_state(models)
        torch.manual_seed(seeds[0])
        self.steps = -(-config.samples // config.batch)
        rates = config.lr, config.approximator_lr or config.lr
        self.rates = [torch.tensor(rate, device=device) for rate in rates]  # tensors, which a graph can follow
        self.adam, self.matrices = self._adam(models[0])
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.plain = torch.optim.SGD([{"params": [torch.zeros(())], "lr": rate} for rate in rates])
        self.schedulers = schedulers(config.schedule, [self.plain], self.steps)
        self._follow()
        self.warm = 3 if device.type == "cuda" else 1  # steps before a graph is taken, at the first rate
        self.sums = torch.zeros(len(seeds), 2, dtype=torch.float64, device=device)
        self.test = held_out(config, device)

    def _adam(self, model: torch.nn.Module) -> tuple[torch.optim.Adam, list[Tensor]]:
        """Adam over all but the matrices that Muon is to have, and those."""
        imitates = {id(p) for m in model.modules() if isinstance(m, hg.Bridge) for p in m.approximator.parameters()}
        lent = [self.weights[name] for name, p in model.named_parameters() if id(p) in imitates]
        own = [self.weights[name] for name, p in model.named_parameters() if id(p) not in imitates]
        matrices = [p for p in own if p.ndim == 3] if self.config.optimizer == "muon" else []
        rest = [p for p in own if all(p is not matrix for matrix in matrices)]
        groups = [{"params": p, "lr": r} for p, r in zip((rest, lent), self.rates, strict=True) if p]
        return torch.optim.Adam(groups, fused=True, capturable=self.device.type == "cuda"), matrices

    def loss(self, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of one seed, its penalty in it, and the two apart."""
        with hg.penalties() as bag:
            task = sorting_loss(functional_call(self.model, weights, (x,)), y)
        penalty = bag.total() if len(bag) else torch.zeros_like(task)
        return task + penalty, torch.stack([task.detach(), penalty.detach()])

    def step(self) -> None:
        """Take one step with all seeds."""
        count, batch = len(self.seeds), self.config.batch
        generator = torch.cuda.default_generators[0] if self.device.type == "cuda" else torch.default_generator
        x = move_close(draw(batch * count, self.config.length, generator), self.config.near_ties, generator)
        x = x.view(batch, count, -1).transpose(0, 1).contiguous()  # of each seed the same share is moved
        slopes, parts = vmap(grad(self.loss, has_aux=True))(self.weights, inputs_of(x, self.config), x.argsort(-1))
        self.sums += parts
        for name, weight in self.weights.items():
            weight.grad = slopes[name]
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            slope, matrix.grad = matrix.grad, None
            momentum.lerp_(slope, 1 - MOMENTUM)
            update = _orthogonal(slope.lerp(momentum, MOMENTUM))
            with torch.no_grad():
                matrix.sub_(self.rates[0] * 0.2 * math.sqrt(max(matrix.shape[1:])) * update.to(matrix))
        self.adam.step()

    def advance(self) -> None:
        """Follow the schedule to the rates of the next step."""
        self.plain.step()
        for each in self.schedulers:
            each.step()
        self._follow()

    def _follow(self) -> None:
        for rate, group in zip(self.rates, self.plain.param_groups, strict=True):
            rate.fill_(group["lr"])

    def steps_of(self) -> Callable[[], None]:
        """Return what takes a step: on a GPU a graph of one, after a few that are taken here."""
        if self.device.type != "cuda":
            self.step()
            return self.step
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.warm):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def accuracy(self, rows: int) -> list[float]:
        """Return the share of test rows that each seed sorts."""
        inputs, targets = (each[:rows] for each in self.test)
        right = torch.zeros(len(self.seeds), dtype=torch.int64, device=self.device)
        self.model.eval()
        with torch.no_grad():
            for x, y in zip(inputs.split(TEST_BATCH), targets.split(TEST_BATCH), strict=True):
                logits = vmap(lambda weights, x=x: functional_call(self.model, weights, (x,)))(self.weights)
                right += torch.stack([all_or_none(each, y).sum() for each in logits])
        self.model.train()
        return (right / len(inputs)).tolist()


def seconds_of_a_step(config: Sorting, seeds: range, device: torch.device, steps: int = 50) -> float:
    """Return what a step takes, with one evaluation's share in it."""
    stack = Stack(config, seeds, device)
    step = stack.steps_of()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    stack.sums.tolist()  # waits for the device
    return (time.perf_counter() - start) / steps


def train(stack: Stack, results: Path, machine: dict[str, object]) -> list[Record]:
    """Train to the end, and write a record for each seed at every evaluation, so that a cut loses little."""
    config, seeds = stack.config, stack.seeds
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    every, step, taken = -(-stack.steps // config.evaluations), stack.steps_of(), stack.warm
    curves: list[list[dict[str, float]]] = [[] for _ in seeds]
    counted, records = 0, []
    while taken < stack.steps:
        stack.advance()
        step()
        taken += 1
        if taken % every and taken < stack.steps:
            continue
        accuracies = stack.accuracy(config.test_rows if taken == stack.steps else config.curve_rows)
        means, counted = (stack.sums / (taken - counted)).tolist(), taken
        stack.sums.zero_()
        seconds = time.perf_counter() - begun
        for curve, (loss, penalty), accuracy in zip(curves, means, accuracies, strict=True):
            curve.append({"samples": taken * config.batch, "seconds": seconds, "loss": loss, "penalty": penalty,
                          "accuracy": accuracy})  # fmt: skip
        print(f"{taken / stack.steps:6.1%} {seconds:5.0f} s  {' '.join(f'{a:.2%}' for a in accuracies)}", flush=True)
        records = [_record(stack, seed, curve, started, machine) for seed, curve in zip(seeds, curves, strict=True)]
        folder = results if taken == stack.steps else results / "under way"
        for record in records:
            record.save(SORTING.run(config, record.seed).record_path(folder))
    return records


def _record(stack: Stack, seed: int, curve: list[dict[str, float]], started: str, machine: dict[str, object]) -> Record:
    last = curve[-1]
    metrics = {name: last[name] for name in ("loss", "penalty", "accuracy")}
    metrics["best_accuracy"] = max(point["accuracy"] for point in curve)
    metrics["parameters"] = sum(p[0].numel() for p in stack.weights.values())
    return Record(
        experiment="sorting", config=SORTING.run(stack.config, seed).config, seed=seed, metrics=metrics, curve=curve,
        samples=int(last["samples"]), seconds=last["seconds"], started=started,
        environment={**describe_environment(machine), "seeds_in_one_model": len(stack.seeds)},
    )  # fmt: skip


def main() -> None:
    """Train the seeds of one configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", default="signum-dense")
    parser.add_argument("--surrogate", default="")
    parser.add_argument("--length", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--samples", type=int, default=40_000_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=100.0, help="what training may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--budget", default="small")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    device, seeds = choose_device(options.device), range(options.seeds)
    given = {"samples": options.samples, "batch": options.batch, "evaluations": 10}
    given |= {"surrogate": options.surrogate} if options.surrogate else {}
    config = SORTING.configure(options.budget, str(options.length), options.system, given)
    each = seconds_of_a_step(config, seeds, device)
    most = int(0.9 * options.seconds / each) * config.batch // 1_000_000 * 1_000_000
    print(f"{1e3 * each:.2f} ms a step of {len(seeds)} seeds, {1e6 * each / len(seeds):.0f} us a seed", flush=True)
    config = replace(config, samples=min(config.samples, max(most, 100 * config.batch)))
    train(Stack(config, seeds, device), options.out, describe_machine(device, How()))


if __name__ == "__main__":
    main()
