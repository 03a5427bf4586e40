"""What a bank costs beside the bank of another checkout: forward and backward of both, called in turn in one process.

Usage: python benchmarks/bank.py --other ../older/src [--layer ReLU] [--adam] [--seconds 4]

The other checkout's package is loaded beside this one. Times are processor time, one thread, tenth percentile.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from types import ModuleType
from typing import Any

import torch
from torch import nn

import hardgrad
from hardgrad_lab.bench.race import Contender, race

WIDTHS = (80, 100, 100, 1)


def other_package(path: str) -> ModuleType:
    mine = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "hardgrad"}
    for name in mine:
        del sys.modules[name]
    sys.path.insert(0, path)
    other = importlib.import_module("hardgrad")
    sys.path.remove(path)
    sys.modules.update(mine)
    return other


def network(layer: str) -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(WIDTHS):
        parts += [nn.Linear(before, after), getattr(nn, layer)()]
    return nn.Sequential(*parts[:-1])


def step(model: nn.Module, inputs: tuple[Any, ...], adam: bool) -> Contender:
    parameters = [*model.parameters()]
    optimizer = torch.optim.Adam(parameters, fused=True)

    def no_gradients() -> None:
        for parameter in parameters:
            parameter.grad = None

    def run() -> None:
        model(*inputs).square().mean().backward()

    def whole() -> None:
        optimizer.zero_grad()
        run()
        optimizer.step()

    return Contender(whole) if adam else Contender(run, before=no_gradients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", required=True)
    parser.add_argument("--layer", default="ReLU")
    parser.add_argument("--adam", action="store_true")
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    other = other_package(args.other)
    print(f"| ranges | rows | plain us | bank | bank of {args.other} | ratio |\n|--:|--:|--:|--:|--:|--:|")
    for ranges in (8, 64, 512):
        for rows in (1, 64, 1024, 16384):
            torch.manual_seed(0)
            x, key = torch.randn(rows, WIDTHS[0]), torch.rand(rows) * 2 - 1
            contenders = {"plain": step(network(args.layer), (x,), args.adam)}
            for name, package in (("new", hardgrad), ("other", other)):
                points = [-1 + 2 * i / ranges for i in range(ranges + 1)]
                switch = package.Switch(package.Ranges(points), network(args.layer), bank=True)
                contenders[name] = step(switch, (x, key), args.adam)
            taken = race(contenders, args.seconds)
            new, old = taken["new"] / taken["plain"], taken["other"] / taken["plain"]
            print(f"| {ranges} | {rows:,} | {1e6 * taken['plain']:.0f} | {new:.1f} | {old:.1f} | {new / old:.2f} |")


if __name__ == "__main__":
    main()
