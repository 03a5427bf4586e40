"""What relaxed orders and subsets cost, in turns with ``torch.sort``: forward and backward, evaluation, memory.

Of torchsort, diffsort, difftopk and softtorch whatever is installed is raced, too; networks that hold matrices of n * n
up to 256 numbers a row. A call of more than half a second is timed once.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.bench.memory import risen
from hardgrad_lab.bench.race import Contender, race

SIZES = ((256, 32), (64, 256), (4, 4096))
OPERATIONS = ("top-k mask", "rank", "sort")
METHODS = ("laplace", "softsort", "neuralsort", "permutahedron", "network")
_SOFT = 0.1  # every temperature, strength and softness
_SLOW = 0.5  # seconds
_WIDEST = 256  # of others' networks
Operator = Callable[[Tensor], Tensor]


def ours(operation: str, k: int, method: str = "laplace") -> Operator:
    """Return a relaxed operator of the library."""
    given: dict[str, Any] = {"temperature": _SOFT, "method": method}
    if operation == "top-k mask":
        return partial(hg.soft.top_k_mask, k=k, **given)
    return partial(hg.soft.rank if operation == "rank" else hg.soft.sort, **given)


def of_others(operation: str, n: int, k: int) -> dict[str, Operator]:
    """Return what the installed packages have for an operation on rows of n numbers."""
    packages: dict[str, Any] = {name: __import__(name) for name in PACKAGES if find_spec(name) is not None}
    return {
        f"{name}, {what}": operator
        for name, package in packages.items()
        for what, operator in PACKAGES[name](package, operation, n, k).items()
    }


def _torchsort(package: Any, operation: str, n: int, k: int) -> dict[str, Operator]:
    operators = {"rank": package.soft_rank, "sort": package.soft_sort}
    return {"l2": partial(operators[operation], regularization_strength=_SOFT)} if operation in operators else {}


def _diffsort(package: Any, operation: str, n: int, k: int) -> dict[str, Operator]:
    network = package.DiffSortNet("bitonic", n) if operation == "sort" and n <= _WIDEST else None
    return {"bitonic": lambda x: network(x)[0]} if network else {}


def _difftopk(package: Any, operation: str, n: int, k: int) -> dict[str, Operator]:
    if operation != "top-k mask":
        return {}
    matrices = {"softsort": package.SoftSort(tau=_SOFT), "neuralsort": package.NeuralSort(tau=_SOFT)}
    found: dict[str, Operator] = {
        name: lambda x, matrix=matrix: matrix(x)[:, :k].sum(1)  # type: ignore[misc]  # a default binds it
        for name, matrix in matrices.items()
    }
    network = package.DiffTopkNet("bitonic", n, k) if n <= _WIDEST else None
    return found | ({"bitonic": lambda x: network(x)[1].sum(-1)} if network else {})


def _softtorch(package: Any, operation: str, n: int, k: int) -> dict[str, Operator]:
    calls: dict[str, Callable[..., Tensor]] = {
        "rank": partial(package.rank, dim=-1),
        "sort": lambda x, **given: package.sort(x, **given).values,
        "top-k mask": lambda x, **given: package.topk(x, k, **given).indices.sum(-2),
    }
    methods = ["softsort", "neuralsort"] + ["fast_soft_sort"] * (operation != "top-k mask")
    methods += ["sorting_network"] * (operation != "top-k mask" and n <= _WIDEST)
    return {method: partial(calls[operation], softness=_SOFT, method=method) for method in methods}


PACKAGES = {"torchsort": _torchsort, "diffsort": _diffsort, "difftopk": _difftopk, "softtorch": _softtorch}


def step(operator: Operator, x: Tensor) -> Contender:
    """Return a forward and backward of an operator, of whose outputs each weighs differently."""
    weight = torch.linspace(-1, 1, x.shape[-1])
    return Contender(lambda: torch.autograd.grad((operator(x) * weight).sum(), x))


def _relaxed(seconds: float) -> None:
    for rows, n in SIZES:
        x, k = torch.randn(rows, n, requires_grad=True), n // 8
        for operation in OPERATIONS:
            found = {method: ours(operation, k, method) for method in METHODS} | of_others(operation, n, k)
            for name, operator in found.items():
                print(f"{operation:10} {rows:3} x {n:4}  {name:26} {_over_sort(operator, x, seconds)}", flush=True)


def _over_sort(operator: Operator, x: Tensor, seconds: float) -> str:
    both = {"sort": step(lambda x: x.sort(-1).values, x), "other": step(operator, x)}
    try:
        both["other"].call()  # some compile first
        start = time.process_time()
        both["other"].call()
    except Exception as error:  # of another package: whatever it may be
        return f"fails: {type(error).__name__}: {error}"[:80]
    once = time.process_time() - start
    found = race(both, seconds) if once < _SLOW else race({"sort": both["sort"]}, 0.0) | {"other": once}
    return f"{1e3 * found['other']:9.2f} ms {found['other'] / found['sort']:9.2f} of torch.sort"


def _evaluated(seconds: float) -> None:
    layer = hg.straight_through(hg.hard.sort, soft=ours("sort", 1))
    for rows, n in SIZES:
        x = torch.randn(rows, n)
        calls = {"sort": Contender(lambda: x.sort(-1).values)}  # noqa: B023
        for mode in (True, False):
            calls["no_grad" if mode else "eval()"] = Contender(partial(layer.train(mode).__call__, x))
        with torch.no_grad():
            found = race(calls, seconds)
        shown = "   ".join(f"{mode} {found[mode] / found['sort']:.2f} of torch.sort" for mode in list(found)[1:])
        print(f"straight-through sort {rows:3} x {n:4}   {shown}")


def risen_by(operation: str, n: int) -> float:
    """Return by how many MiB a step on four rows raises what this process holds at once."""
    torch.set_num_threads(1)
    operator, x = ours(operation, 8), torch.randn(4, n, requires_grad=True)
    step(operator, torch.randn(4, 8, requires_grad=True)).call()
    return risen(step(operator, x).call)


def _memory() -> None:
    for operation in OPERATIONS:
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            one, four = fresh.starmap(risen_by, [(operation, 2**16), (operation, 2**18)], chunksize=1)
        print(f"memory, {operation:10} 4 x 65536 {one:6.1f} MiB, 4 x 262144 {four / one:5.2f} times that")


def _subsets(seconds: float) -> None:
    logits = torch.randn(10_000, requires_grad=True)

    def scored() -> Tensor:
        q = hg.KSubset(logits, 100)
        return q.log_prob(q.sample())

    def marginals() -> Tensor:
        return hg.KSubset(logits, 100).marginals.square().sum()

    calls = {"log_prob of a draw": scored, "marginals": marginals}
    for name, call in calls.items():
        taken = race({name: Contender(lambda: torch.autograd.grad(call(), logits))}, seconds)[name]  # noqa: B023
        print(f"KSubset, 100 of 10,000, {name:18} {1e3 * taken:8.1f} ms with its gradient")


def measure(seconds: float) -> None:
    """Measure all of it, and print it line by line."""
    torch.manual_seed(0)
    _relaxed(seconds)
    _evaluated(seconds)
    _memory()
    _subsets(seconds)
