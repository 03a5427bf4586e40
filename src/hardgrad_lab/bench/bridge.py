"""What a bridge costs, as ratios within one run.

- a training step of the 10-sort network against the same step written the published way, where the approximator is
  differentiated inside the backward of the hard layer (eager, and with our loss under torch.compile, plain and with
  inductor's faster tanh);
- the same step with an elementwise approximator, against the published way with the same one;
- the evaluated layer against the bare hard function;
- the import of hardgrad on top of torch's;
- the exported graph of the stripped model against that of the bare function's model.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench.race import medians

LENGTH, BATCH, WIDTH = 10, 1024, 256
SIGN = partial(hg.hard.sign, margin=0.5)


class PublishedWay(nn.Module):
    """The hard layer as the published program computes it; the caller adds ``penalty`` to the loss."""

    class _Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, soft: Tensor) -> Tensor:
            ctx.save_for_backward(x, soft)
            y = torch.zeros_like(x)
            y[x < -0.5] = -1
            y[x > 0.5] = 1
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            x, soft = ctx.saved_tensors
            with torch.enable_grad():
                return torch.autograd.grad(soft, x, grad, retain_graph=True)[0], None

    penalty: Tensor

    def __init__(self, approximator: nn.Module) -> None:
        super().__init__()
        self.approximator = approximator

    def forward(self, x: Tensor) -> Tensor:
        soft = self.approximator(x)
        y: Tensor = self._Function.apply(x, soft)  # type: ignore[no-untyped-call]  # torch's own
        self.penalty = 10 * F.mse_loss(soft, y, reduction="none").sum(-1).mean()
        return y


def _network(hard_layer: nn.Module) -> nn.Sequential:
    body = hg.approximators.mlp(LENGTH, WIDTH, hidden=(WIDTH // 2, WIDTH // 2))
    return nn.Sequential(*body, nn.Tanh(), hard_layer, nn.Linear(WIDTH, LENGTH**2))


def _approximator() -> nn.Sequential:
    return hg.approximators.mlp(WIDTH, WIDTH, hidden=(WIDTH // 2, WIDTH // 2))


def _step_of(model: nn.Sequential, device: str, **compile_options: Any) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.to(device).parameters(), lr=1e-4, fused=True)
    x = torch.rand(BATCH, LENGTH, generator=torch.Generator().manual_seed(0)).to(device)
    target = x.argsort(-1)

    def loss_of(x: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(model(x).view(-1, LENGTH, LENGTH), target, reduction="none").sum(-1).mean()
        layer = model[-2]
        return loss + layer.penalty if isinstance(layer, PublishedWay) else loss

    run = torch.compile(loss_of, **compile_options) if compile_options else loss_of

    def step() -> None:
        optimizer.zero_grad()
        run(x, target).backward()
        optimizer.step()

    return step


def _training_step(rounds: int, device: str) -> None:
    published, eager, compiled, tuned = (
        _network(layer)
        for layer in (PublishedWay(_approximator()), *(hg.Bridge(SIGN, _approximator()) for _ in range(3)))
    )
    seconds = medians(
        {
            "published way": _step_of(published, device),
            "bridge": _step_of(eager, device),
            "bridge, compiled": _step_of(compiled, device, fullgraph=True),
            "bridge, compiled, tanh": _step_of(tuned, device, fullgraph=True, options={"cpp.use_decompose_tanh": True}),
            "straight-through": _step_of(_network(hg.straight_through(SIGN)), device),
        },
        rounds,
        warm=10,
        device=device,
    )
    for name, value in seconds.items():
        print(f"step, {name:22} {1e3 * value:7.2f} ms   {value / seconds['published way']:.2f} of the published way")


def _elementwise_steps(rounds: int, device: str) -> None:
    for width in (8, 16, 256):
        make = partial(hg.approximators.elementwise, width)
        published, ours = (_network(layer) for layer in (PublishedWay(make()), hg.Bridge(SIGN, make())))
        seconds = medians(
            {"published way": _step_of(published, device), "bridge": _step_of(ours, device)},
            rounds if width < 256 else max(1, rounds // 50),
            warm=1,
            device=device,
        )
        ratio = seconds["bridge"] / seconds["published way"]
        name, ms = f"elementwise({width})", 1e3 * seconds["bridge"]
        print(f"step, {name:22} {ms:7.2f} ms   {ratio:.2f} of the published way with it")


def _evaluation(rounds: int, device: str) -> None:
    x = torch.randn(BATCH, WIDTH, device=device)
    functions: dict[str, Callable[[Tensor], Tensor]] = {"sign": SIGN, "sort": hg.hard.sort}
    for name, hard in functions.items():
        layer = hg.Bridge(hard, _approximator()).eval().to(device)
        with torch.no_grad():
            both = {"bare": lambda: hard(x), "eval": lambda: layer(x)}  # noqa: B023
            seconds = medians(both, 5 * rounds, warm=10, device=device)
        ratio = seconds["eval"] / seconds["bare"]
        print(f"eval() of a {name} layer    {1e6 * seconds['eval']:7.1f} us   {ratio:.3f} of the bare function")


def _imports(rounds: int) -> None:
    def seconds(code: str) -> float:
        probe = f"import torch, time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout)

    print(f"import hardgrad         {1e3 * min(seconds('import hardgrad') for _ in range(rounds)):7.1f} ms after torch")


def _exported_nodes() -> None:
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return SIGN(x)

    x = torch.randn(4, LENGTH)
    models = hg.strip(_network(hg.Bridge(SIGN, _approximator())).eval()), _network(Bare()).eval()
    nodes = [len(torch.export.export(model, (x,)).graph.nodes) for model in models]
    print(f"exported nodes          {nodes[0]:7d}      bare function's model {nodes[1]}")


def measure(rounds: int, device: str = "cpu") -> None:
    """Measure all of it, and print it line by line."""
    _training_step(rounds, device)
    _elementwise_steps(rounds, device)
    _evaluation(rounds, device)
    _imports(5)
    _exported_nodes()
