"""Two tracks beside plain autograd: every approximator of the bank, eager, compiled, with graph breaks.

Usage: PYTHONPATH=tests python -m two_track_product [--backends eager aot_eager inductor] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor, nn

from approximator_bank import BANK, Entry
from hardgrad.two_track import two_tracks

Sides = dict[str, Tensor]
# Inductor takes 5 s and more to compile one: these go each way.
FEW = ("mlp", "BatchNorm1d", "Dropout", "functional noise", "weight norm", "TransformerEncoderLayer", "counter", "conv")


class Tracks(nn.Module):
    """Both tracks of an approximator, into one loss: the task's and the penalty's."""

    def __init__(self, network: nn.Module, breaks: bool = False) -> None:
        super().__init__()
        self.network = network
        self.breaks = breaks

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lend, learn = two_tracks(self.network, x, x.detach())
        if self.breaks:
            torch._dynamo.graph_break()
        return task(lend) + penalty(learn), learn


def task(y: Tensor) -> Tensor:
    return (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum()


def penalty(y: Tensor) -> Tensor:
    return 10 / len(y) * (y - 0.3).square().sum()


def build(entry: Entry) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = entry.make()
    if entry.to_double:
        network.double()
    return network, torch.randn(entry.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _seeded() -> None:
    torch.manual_seed(2)
    random.seed(2)


def eager(tracks: Tracks) -> Tracks:
    return tracks


def ours(entry: Entry, run: Callable[[Tracks], Any] = eager, breaks: bool = False) -> Sides:
    """Two calls of both tracks, one backward each; what they leave behind."""
    network, x = build(entry)
    call = run(Tracks(network, breaks))
    _seeded()
    found = {}
    for step in range(2):
        leaf = x.clone().requires_grad_()
        loss, y = call(leaf)
        loss.backward()
        found |= {f"value {step}": y.detach(), f"lent {step}": leaf.grad}
    return found | _behind(network)


def plain(entry: Entry) -> Sides:
    """The same by plain autograd through one call, its gradients asked for apart."""
    with torch._functorch.config.patch(donated_buffer=False):  # else a compiled network is asked only once
        return _plain(entry)


def _plain(entry: Entry) -> Sides:
    network, x = build(entry)
    _seeded()
    found = {}
    for step in range(2):
        leaf = x.clone().requires_grad_()
        given = leaf * 1  # a network may write into what it is given
        y = network(given)
        (lent,) = torch.autograd.grad(task(y), leaf, retain_graph=True, allow_unused=True)
        penalty(y).backward()
        found |= {f"value {step}": y.detach(), f"lent {step}": lent}
    return found | _behind(network)


def _behind(network: nn.Module) -> Sides:
    """Gradients, buffers, counters and random states after all."""
    found: dict[str, Any] = {f"grad of {name}": p.grad for name, p in network.named_parameters()}
    found |= {f"buffer {name}": b for name, b in network.named_buffers()}
    found["random state"] = torch.get_rng_state()
    found["Python's random state"] = torch.tensor(random.random())
    for name, part in network.named_modules():
        attributes = getattr(part, "__dict__", {})
        found |= {f"{name}.{key}": torch.tensor(n) for key, n in attributes.items() if key == "calls"}
        found |= {f"{name}.{key}": g.get_state() for key, g in attributes.items() if isinstance(g, torch.Generator)}
        found |= {f"{name}.hidden": w.grad for w in attributes.get("hidden", [])}
    return found


def differences(found: Sides, expected: Sides, tolerance: float = 1e-9) -> list[str]:
    """Name what is not as expected; no gradient and a gradient of zeros are the same."""
    wrong = [] if found.keys() == expected.keys() else [f"keys {found.keys() ^ expected.keys()}"]
    for key in found.keys() & expected.keys():
        a, b = found[key], expected[key]
        if a is None or b is None:
            same = (a is None or not a.any()) and (b is None or not b.any())
        else:
            same = a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
        if not same:
            wrong.append(key)
    return sorted(wrong)


def compiled(backend: str) -> Callable[[Tracks], Any]:
    # Without the option inductor draws other numbers than eager code does.
    options = {"fallback_random": True} if backend == "inductor" else None
    return lambda tracks: torch.compile(tracks, backend=backend, options=options)


def failures_of(name: str, backends: list[str]) -> list[str]:
    expected, found = plain(BANK[name]), []
    ways = [("eager, not compiled", eager, False)]
    ways += [
        (f"{backend}{', with a break' * breaks}", compiled(backend), breaks)
        for backend in backends
        for breaks in (False, True)
        if backend != "inductor" or name in FEW
    ]
    for way, run, breaks in ways:
        torch._dynamo.reset()
        try:
            wrong = differences(ours(BANK[name], run, breaks), expected, 1e-6)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"[:300]]
        if wrong:
            found.append(f"{name} | {way}: {wrong}")
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="*", default=["eager", "aot_eager"])
    parser.add_argument("--only", nargs="*", default=list(BANK))
    parser.add_argument(
        "--part", default="0/1", metavar="I/N", help="of the approximators, every N-th from the I-th on"
    )
    options = parser.parse_args()
    first, step = map(int, options.part.split("/"))
    names = options.only[first::step]
    torch.set_num_threads(1)
    failures = [line for name in names for line in failures_of(name, options.backends)]
    print(f"{len(names)} approximators, {len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
