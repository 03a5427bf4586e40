"""Whether a branch moves is decided by the training rows of the step: compiled code against eager, step by step."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

X = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
ALL, LOW = torch.linspace(0.1, 2.9, 8), torch.full((8,), 0.5)
HIGH = torch.full((8,), 2.5)


def switch(shared: bool = False) -> hg.Switch:
    torch.manual_seed(0)
    branches = [nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)) for _ in range(3)]
    return hg.Switch(hg.Ranges([0, 1, 2, 3]), [branches[0], branches[1], branches[(shared and 1) or 2]])


class Pair:
    """One switch trained in eager code and its copy in a graph, by one program."""

    def __init__(self, start: hg.Switch, optimizer: str = "sgd") -> None:
        torch._dynamo.reset()
        self.switches = [start, copy.deepcopy(start)]
        self.runs: list[Callable[..., Tensor]] = [
            self.switches[0],
            torch.compile(self.switches[1], backend="eager", fullgraph=True),
        ]
        make = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
            "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        }[optimizer]
        self.optimizers = [make(each.parameters()) for each in self.switches]
        self.both(ALL), self.step(), self.both(ALL), self.step()  # momentum for every branch

    def each(self, do: Callable[[hg.Switch, Callable[..., Tensor]], object]) -> None:
        for one, run in zip(self.switches, self.runs, strict=True):
            do(one, run)

    def both(self, key: Tensor) -> None:
        self.each(lambda _, run: run(X, key).square().sum().backward())

    def step(self) -> None:
        for one, optimizer in zip(self.switches, self.optimizers, strict=True):
            one.drop_unvisited_grads()
            optimizer.step()
            optimizer.zero_grad()
        for p, q in zip(*(each.parameters() for each in self.switches), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def validate(pair: Pair) -> None:
    with torch.no_grad():
        pair.each(lambda one, run: (one.eval(), run(X, ALL), one.train()))


def look(pair: Pair) -> None:
    pair.each(lambda one, run: (one.eval(), run(X, ALL), one.train()))  # with a graph, but nothing comes of it


def forget(pair: Pair) -> None:
    pair.both(ALL)
    for optimizer in pair.optimizers:  # a loss that was not finite, say
        optimizer.zero_grad()


def accumulate(pair: Pair) -> None:
    pair.both(LOW), pair.both(HIGH), pair.both(LOW)


def twice(pair: Pair) -> None:
    pair.each(lambda _, run: (run(X, LOW).sum() * run(X, HIGH).square().sum()).backward())


def again(pair: Pair) -> None:
    pair.each(lambda _, run: checkpoint(run, X, HIGH, use_reentrant=False).square().sum().backward())


def flat(pair: Pair) -> None:
    pair.each(lambda _, run: (run(X, HIGH) * 0).sum().backward())  # a gradient of zero is one all the same


def load(pair: Pair) -> None:
    pair.each(lambda one, _: one.load_state_dict(one.state_dict()))


def mix(pair: Pair) -> None:
    pair.both(LOW)
    pair.each(lambda one, _: one(X, HIGH).square().sum().backward())  # in eager code for both
    pair.both(LOW)


BETWEEN: dict[str, Callable[[Pair], object]] = {
    "nothing": lambda pair: None,
    "validation": validate,
    "a forward in eval": look,
    "reset counters": lambda pair: pair.each(lambda one, _: one.ranges.reset_counts()),
    "loaded counters": load,
    "a step skipped": forget,
    "microbatches": accumulate,
    "two forwards": twice,
    "a checkpoint": again,
    "a flat loss": flat,
    "eager code": mix,
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_compiled_branch_moves_where_the_eager_one_does(between: str, optimizer: str) -> None:
    pair = Pair(switch(), optimizer)
    still = copy.deepcopy(pair.switches[1].branch(1).state_dict())
    BETWEEN[between](pair)
    pair.both(LOW)
    pair.step()
    for name, value in pair.switches[1].branch(1).state_dict().items():
        assert torch.equal(value, still[name])  # which no training row of the step went through
    pair.both(ALL)
    pair.step()


def test_a_random_walk_of_all_of_them_ends_alike() -> None:
    pair, walk = Pair(switch()), random.Random(0)
    for _ in range(40):
        walk.choice(list(BETWEEN.values()))(pair)
        if walk.random() < 0.5:
            pair.both(walk.choice([LOW, HIGH, ALL]))
        if walk.random() < 0.6:
            pair.step()


def test_two_ranges_with_one_branch_move_it_if_either_was_visited() -> None:
    pair = Pair(switch(shared=True))
    for key in (LOW, HIGH, torch.full((8,), 1.5), LOW):
        pair.both(key)
        pair.step()


def test_two_switches_on_one_condition_do_not_hear_each_other() -> None:
    ranges = hg.Ranges([0, 1, 2, 3])
    one, other = (hg.Switch(ranges, nn.Linear(2, 1)) for _ in range(2))
    run = torch.compile(one, backend="eager", fullgraph=True)
    run(X, LOW).sum().backward()
    other(X, ALL).sum().backward()
    one.drop_unvisited_grads()
    assert [branch.weight.grad is None for branch in one.branches] == [False, True, True]
    assert all(branch.weight.grad is not None for branch in other.branches)


def test_an_embedding_and_a_split_switch_drop_too() -> None:
    layer = hg.RangeEmbedding(hg.Ranges([0, 1, 2, 3]), 4)
    torch.compile(layer, backend="eager", fullgraph=True)(LOW).sum().backward()
    layer.drop_unvisited_grads()
    assert [branch.weight.grad is None for branch in layer.branches] == [False, True, True]
    parted = switch()
    parted.split(0, at=0.7)
    torch.compile(parted, backend="eager", fullgraph=True)(X, LOW).sum().backward()
    parted.drop_unvisited_grads()
    assert [branch[0].weight.grad is None for branch in parted.branches] == [False, True, True, True]


def test_asking_for_a_branch_counts_nothing() -> None:
    tree = hg.If(hg.Ranges([0, 1, 2]), ["a", hg.If(hg.Ranges([0, 1, 2]), ["b", "c"], key=1)])
    routers = {
        hg.Ranges([0, 1, 2]): torch.tensor([-5.0, 0.5, 7.0]),
        hg.LearnedRanges([0, 1, 2]): torch.tensor([-5.0, 0.5, 7.0] * 40),
        hg.Grid(hg.Ranges([0, 1, 2]), hg.Ranges([0, 1, 2])): torch.tensor([[-5.0, 0.5], [1.5, 7.0], [0.5, 0.5]]),
        tree: torch.tensor([[-5.0, 0.5], [1.5, 7.0], [0.5, 9.0]]),
    }
    for router, key in routers.items():
        router.index(key)
        assert all(not counter.any() for counter in router.buffers())
        router(key)
        assert router.visits.sum() == len(key)
    one, _, grid, _ = routers
    assert (one.below.item(), one.above.item()) == (1, 1)
    assert [axis.visits.tolist() for axis in grid.axes] == [[2, 1], [2, 1]]
    assert [(axis.below.item(), axis.above.item()) for axis in grid.axes] == [(1, 0), (0, 1)]
    question = tree.inner[0].ranges  # asked of the one row that came to it
    assert (question.visits.tolist(), question.above.item()) == ([0, 1], 1)
