"""Seeds of a sorting run side by side, as benchmarks/gpu_seeds.py has them, are the runs one by one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.run import begin
from hardgrad_lab.runs.record import Record

FILE = Path(__file__).parents[2] / "benchmarks" / "gpu_seeds.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gpu_seeds() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_seeds", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Given:
    """A stream of the one batch that is put into it."""

    def batch(self) -> tuple[Tensor, Tensor]:
        return self.x, self.x.argsort(1)


@pytest.mark.parametrize("system", ["signum-dense", "elu-dense"])
def test_a_stack_takes_the_steps_of_its_seeds(gpu_seeds: Any, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Their change over four steps; Muon without its iteration in bfloat16, which rounds by 4 %."""

    def scaled(update: Tensor, *_: Any) -> Tensor:
        return update / update.norm()

    monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", scaled)
    monkeypatch.setattr(gpu_seeds, "_orthogonal", torch.vmap(scaled))
    shown: list[Tensor] = []
    inputs_of = gpu_seeds.inputs_of
    monkeypatch.setattr(gpu_seeds, "inputs_of", lambda *a: shown.append(inputs_of(*a)) or shown[-1])
    for optimizer in ("adam", "muon"):
        config = SORTING.configure("smoke", "4", system, {"optimizer": optimizer})
        stack, alone = gpu_seeds.Stack(config, range(3, 5), CPU), []
        for seed in (3, 4):
            torch.manual_seed(seed)
            alone.append(begin(config, seed, CPU)[0])
            alone[-1].stream = _Given()
        before = {name: weights.detach().clone() for name, weights in stack.weights.items()}
        for _ in range(4):
            stack.step()
            stack.advance()
            for row, training in zip(shown[-1], alone, strict=True):
                training.stream.x = row
                training.step(training.loss, 0.0)
        for number, training in enumerate(alone):
            torch.testing.assert_close(stack.sums[number], training.sums, rtol=1e-3, atol=1e-3)
            for name, weight in training.model.named_parameters():
                change = (weight - before[name][number]).norm()
                assert change > 0
                assert (stack.weights[name][number] - weight).norm() < 0.01 * change, name


def test_the_iteration_is_torch_s(gpu_seeds: Any) -> None:
    updates = torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(0))
    arguments = gpu_seeds.COEFFICIENTS, gpu_seeds.ITERATIONS, gpu_seeds.EPS
    one_by_one = torch.stack([torch.optim._muon._zeropower_via_newtonschulz(u, *arguments) for u in updates])
    assert (gpu_seeds._orthogonal(updates) - one_by_one).norm() < 0.1 * one_by_one.norm()
    group = torch.optim.Muon([torch.zeros(2, 2)]).param_groups[0]
    assert (group["momentum"], group["ns_coefficients"], group["ns_steps"], group["eps"]) == (
        gpu_seeds.MOMENTUM,
        *arguments,
    )


def test_each_seed_leaves_the_record_of_a_run(gpu_seeds: Any, tmp_path: Path) -> None:
    config = SORTING.configure("smoke", "4", "tanh-dense", {})
    gpu_seeds.train(gpu_seeds.Stack(config, range(2), CPU), tmp_path, {"device": "a device"})
    for seed in range(2):
        record = Record.load(SORTING.run(config, seed).record_path(tmp_path))
        assert record.environment["seeds_in_one_model"] == 2
        assert record.samples == config.samples
        assert [point["samples"] for point in record.curve] == [320, 640]
        assert 0 <= record.metrics["accuracy"] <= 1
