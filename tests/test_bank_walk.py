"""A bank and the same branches without one, on random walks through everything that is done to a model."""

from __future__ import annotations

import copy
import io
import pickle
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.branches.bank import products
from hardgrad.switch.branches.bank.bank import Bank

RANGES, INPUTS, STEPS = 5, 3, 220
OPTIMIZERS: list[Callable[..., torch.optim.Optimizer]] = [
    partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=0.01),
    partial(torch.optim.SGD, lr=0.02, foreach=False),
    partial(torch.optim.Adam, lr=0.01),
    partial(torch.optim.AdamW, lr=0.01, fused=True),
    partial(torch.optim.RMSprop, lr=0.002, momentum=0.5),
]
Result = list[Tensor | None]


def branch() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(INPUTS, 6), nn.GELU(), nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU()), nn.Linear(4, 2)
    )


class Side:
    """One of the two switches, with its optimizer and the hooks that are on it."""

    def __init__(self, switch: hg.Switch) -> None:
        self.switch = switch
        self.make = OPTIMIZERS[0]
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        self.heard: dict[int, Result] = {}  # by branch: between two of them the order is nobody's promise
        self.renew()

    def renew(self) -> None:
        self.optimizer = self.make(self.switch.parameters())

    @property
    def dtype(self) -> torch.dtype:
        return next(self.switch.parameters()).dtype

    def loss(self, rows: int, seed: int, to_x: bool) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, INPUTS, generator=g, dtype=torch.float64).to(self.dtype).requires_grad_(to_x)
        # Keys of some ranges alone, so that others are not visited.
        key = torch.rand(rows, generator=g, dtype=torch.float64) * (1 + seed % RANGES)
        y = self.switch(x, key)
        return (y * torch.linspace(1, 2, 2, dtype=y.dtype)).sin().square().sum(), x


def backward(side: Side, r: random.Random) -> Result:
    loss, x = side.loss(r.choice([1, 4, 9, 40, 300]), r.randrange(10**6), r.random() < 0.5)
    if loss.requires_grad:
        loss.backward(retain_graph=(twice := r.random() < 0.2))
        if twice:
            loss.backward()
    return [loss, x.grad]


def two_forwards(side: Side, r: random.Random) -> Result:
    losses = [side.loss(r.choice([4, 40]), r.randrange(10**6), False)[0] for _ in range(3)]
    del losses[r.randrange(3)]  # its graph is freed
    r.shuffle(losses)
    if losses[0].requires_grad and losses[1].requires_grad:
        losses[0].backward()
        losses[1].mul(0.3).backward()
    return [*losses]


def named(side: Side, r: random.Random) -> Result:
    loss, x = side.loss(12, r.randrange(10**6), to_x := r.random() < 0.5)
    leaves = [p for p in side.switch.parameters() if p.requires_grad]
    chosen = r.sample(leaves, r.randint(1, 3)) if leaves else []
    if loss.requires_grad and chosen:
        loss.backward(inputs=[*chosen, *([x] if to_x else [])])
    return [loss, x.grad]


def asked(side: Side, r: random.Random) -> Result:
    loss, x = side.loss(12, r.randrange(10**6), True)
    leaves = [x, *(p for p in side.switch.parameters() if p.requires_grad)]
    r.shuffle(leaves)
    return [*torch.autograd.grad(loss, leaves[: r.randint(1, len(leaves))], allow_unused=True)]


def evaluate(side: Side, r: random.Random) -> Result:
    guard = r.choice([torch.no_grad, torch.inference_mode])
    with guard():
        y = side.switch.eval()(torch.ones(7, INPUTS, dtype=side.dtype), torch.linspace(0.1, RANGES - 0.1, 7))
    side.switch.train(r.random() < 0.8)
    return [y.clone()]


def step(side: Side, r: random.Random) -> Result:
    side.optimizer.step()
    return []


def zero_grad(side: Side, r: random.Random) -> Result:
    side.optimizer.zero_grad(set_to_none=r.random() < 0.5)
    return []


def freeze(side: Side, r: random.Random) -> Result:
    part = side.switch.branch(r.randrange(RANGES))
    if r.random() < 0.5:
        part = part[r.choice([0, 2, 3])]
    flag = r.random() < 0.4
    for p in [*part.parameters()][:: r.choice([1, 2])]:
        p.requires_grad_(flag)
    return []


def thaw(side: Side, r: random.Random) -> Result:
    side.switch.requires_grad_(True)
    return []


def freeze_between(side: Side, r: random.Random) -> Result:
    loss, _ = side.loss(20, r.randrange(10**6), True)
    part = side.switch.branch(r.randrange(RANGES))
    flags = [p.requires_grad for p in part.parameters()]
    part.requires_grad_(r.random() < 0.5)
    loss.backward()
    for p, flag in zip(part.parameters(), flags, strict=True):
        p.requires_grad_(flag)
    return [loss]


def go_on_with_a_copy(side: Side, r: random.Random) -> Result:
    hooks_off(side)  # a lambda cannot be pickled
    grads = [p.grad for p in side.switch.parameters()]
    if r.random() < 0.5:
        side.switch = copy.deepcopy(side.switch)
    else:
        side.switch = pickle.loads(pickle.dumps(side.switch))
    for p, grad in zip(side.switch.parameters(), grads, strict=True):
        p.grad = grad
    side.renew()
    return []


def save_and_load(side: Side, r: random.Random) -> Result:
    file = io.BytesIO()
    torch.save(side.switch.state_dict(), file)
    with torch.no_grad():
        for p in side.switch.parameters():
            p.mul_(0.5)
    file.seek(0)
    assign = r.random() < 0.5
    side.switch.load_state_dict(torch.load(file), assign=assign)
    if assign:
        side.renew()
    return []


def retype(side: Side, r: random.Random) -> Result:
    side.switch.float().double()
    return []


def share(side: Side, r: random.Random) -> Result:
    side.switch.share_memory()
    return []


def replace(side: Side, r: random.Random) -> Result:
    i, kind = r.randrange(RANGES), r.randrange(4)
    torch.manual_seed(r.randrange(10**6))
    if kind == 0:
        side.switch.branches[i] = branch().double()
    elif kind == 1:
        side.switch.branch(i)[3] = nn.Linear(4, 2).double()
    elif kind == 2:
        side.switch.branch(i)[0].weight = nn.Parameter(torch.randn(6, INPUTS, dtype=torch.float64) / 2)
    else:
        part = side.switch.branch(i)[0]
        part.bias.data = torch.randn(6, dtype=part.bias.dtype)
    side.renew()
    return []


def other_optimizer(side: Side, r: random.Random) -> Result:
    side.make = r.choice(OPTIMIZERS)
    side.renew()
    return []


def hook(side: Side, r: random.Random) -> Result:
    i, kind = r.randrange(RANGES), r.randrange(4)
    part = side.switch.branch(i)
    if kind == 0 and part[0].weight.requires_grad:
        side.handles.append(part[0].weight.register_hook(lambda g: g * 1.5))
    elif kind == 1:
        side.handles.append(part[3].register_forward_hook(lambda *a: a[-1] * 2))
    elif kind == 2 and part[3].bias.requires_grad:
        heard = side.heard.setdefault(i, [])
        side.handles.append(
            part[3].bias.register_post_accumulate_grad_hook(
                lambda p: heard.append(None if p.grad is None else p.grad.clone())
            )
        )
    else:
        hooks_off(side)
    return []


def hooks_off(side: Side) -> None:
    while side.handles:
        side.handles.pop().remove()


def penalty(side: Side, r: random.Random) -> Result:
    if any(p.requires_grad for p in side.switch.parameters()):
        (0.1 * torch.stack([p.square().sum() for p in side.switch.parameters()]).sum()).backward()
    return []


OPERATIONS: dict[Callable[[Side, random.Random], Result], int] = {
    backward: 12, two_forwards: 3, named: 4, asked: 3, evaluate: 3, step: 8, zero_grad: 5, freeze: 3, thaw: 2,
    freeze_between: 2, go_on_with_a_copy: 2, save_and_load: 2, retype: 1, share: 1, replace: 3, other_optimizer: 1,
    hook: 3, penalty: 1,
}  # fmt: skip


def sides(seed: int) -> Iterator[Side]:
    for bank in (True, False):
        torch.manual_seed(seed)
        points = [float(i) for i in range(RANGES + 1)]
        yield Side(hg.Switch(hg.Ranges(points), branch().double(), init="independent", bank=bank))


def same(one: Result, other: Result, where: str) -> None:
    assert len(one) == len(other), where
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None), where
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text: f"{where}: {text}")


@torch.no_grad()
def level(one: nn.Module, other: nn.Module) -> None:
    """Copy the numbers over, and keep them small: what is compared is the next operation, not how rounding grows."""
    for p in one.parameters():
        p.clamp_(-2, 2)
        if p.grad is not None:
            p.grad.clamp_(-2, 2)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        q.copy_(p)
        if p.grad is not None and q.grad is not None:
            q.grad.copy_(p.grad)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a bank was served by it."""
    calls: list[bool] = []
    run = Bank.run

    def listen(bank: Bank, *args: Any) -> Tensor | None:
        y = run(bank, *args)
        calls.append(y is not None)
        return y

    monkeypatch.setattr(Bank, "run", listen)
    return calls


@pytest.mark.parametrize("seed", range(5))
def test_a_bank_means_what_its_branches_mean(seed: int, served: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # the products of weights that lie where they are, which take larger ones than these
        monkeypatch.setattr(products, "COPIED", 0)
        monkeypatch.setattr(products, "IN_CACHE", 0)
    walker = random.Random(seed)
    banked, apart = sides(seed)
    for at in range(STEPS):
        operation = walker.choices([*OPERATIONS], [*OPERATIONS.values()])[0]
        where = f"seed {seed}, operation {at}, {operation.__name__}"
        draws = walker.randrange(10**9)
        same(*(operation(side, random.Random(draws)) for side in (banked, apart)), where)
        for read in (lambda p: p.detach(), lambda p: p.grad):
            same(*([read(p) for p in side.switch.parameters()] for side in (banked, apart)), where)
        same(*([each for i in sorted(side.heard) for each in side.heard[i]] for side in (banked, apart)), where)
        level(banked.switch, apart.switch)
    assert all(p.isfinite().all() for p in apart.switch.parameters())
    assert sum(served) > 40  # else the branches were compared with themselves
