"""Figure 3: the gradients shown are the network's, the bands are where the jumps are, and a resumed run is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.figure3 import FIGURE3, Figure3
from hardgrad_lab.experiments.bridges.figure3.run import NEAR, Numbers, begin, look, measure, reproduce
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.loop import Training

QUIET = Console(quiet=True)
CPU = torch.device("cpu")


def configured(**given: Any) -> Figure3:
    config: Figure3 = FIGURE3.configure("smoke", "signum", "elu-dense", given)
    return config


def run(config: Figure3, results: Path, **how: Any) -> Outcome:
    return reproduce(FIGURE3.run(config, 3), config, 3, Root(), How(results=results, **how), QUIET)


def trained(config: Figure3) -> Training:
    torch.manual_seed(0)
    training, plan = begin(config, 0, CPU)
    for _ in range(plan.steps):
        training.step(training.loss, plan.clip)
    return training


def ramp(x: Tensor) -> Tensor:
    """Rise by one over the width of the band at each jump, straight: what a network with sharp edges would be."""
    return sum((((x - jump) / (2 * NEAR) + 0.5).clamp(0, 1) for jump in (-0.5, 0.5)), torch.tensor(-1.0))


class Ramp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return ramp(x)


# ------------------------------------------------------------------------------------------------------- the measures


def test_the_gradient_is_that_of_finite_differences() -> None:
    config = configured(steps=200, points=81)
    model = trained(config).model.double()
    x, output, gradient = (part.double() for part in look(config, Double(model), CPU))
    step = 1e-5
    with torch.no_grad():
        above, below = (model((x + side).unsqueeze(1)).squeeze(1) for side in (step, -step))
        torch.testing.assert_close(output, model(x.unsqueeze(1)).squeeze(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, (above - below) / (2 * step), rtol=1e-4, atol=1e-4)
    assert gradient.abs().max() > 0.5, "the network has learnt to bend"


class Double(nn.Module):
    """A network of double precision behind an entry and an exit of single."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.double())


def test_the_measures_of_a_ramp_are_those_of_paper_and_pencil() -> None:
    config = configured(points=20_001)
    found = measure(config, *look(config, Ramp(), CPU))
    # Each jump of 1 within a band of 0.1, so a slope of 10 there and of 0 elsewhere. In a band the distance from the
    # hard function falls from 1/2 to 0 on both sides: the mean square is 1/12, in a tenth of the range.
    assert found["gradient_at_jumps"] == pytest.approx(10, rel=1e-2)
    assert found["gradient_elsewhere"] == pytest.approx(0, abs=1e-2)
    assert found["error"] == pytest.approx(0.1 / 12, rel=1e-2)


def test_bands_are_within_a_twentieth_of_either_jump_and_nowhere_else() -> None:
    config = configured(margin=0.3, points=11)
    x = torch.tensor([-0.34, -0.26, 0.26, 0.34, -0.36, -0.24, 0.0, 0.24, 0.36, 0.5, -0.5])
    hard = torch.tensor([-1.0, 0, 0, 1, -1, 0, 0, 0, 1, 1, -1])
    found = measure(config, x, hard, torch.cat([torch.full((4,), 7.0), torch.full((7,), 2.0)]))
    assert found["error"] == 0
    assert (found["gradient_at_jumps"], found["gradient_elsewhere"]) == (7.0, 2.0)
    assert [found[f"hard@{place}"] for place in range(11)] == hard.tolist()
    assert [found[f"x@{place}"] for place in range(11)] == x.tolist()


# ------------------------------------------------------------------------------------------------- what is trained on


def test_numbers_are_uniform_and_their_targets_those_of_equation_1() -> None:
    stream = Numbers(configured(batch=20_000), 0, CPU)
    x, y = stream.batch()
    # U(-1, 1) has mean 0 and variance 1/3; four standard errors of each.
    assert abs(x.mean().item()) < 4 * (1 / 3 / 20_000) ** 0.5
    assert abs(x.var().item() - 1 / 3) < 4 * (4 / 45 / 20_000) ** 0.5
    assert x.abs().max() < 1
    expected = [1.0 if value > 0.5 else -1.0 if value < -0.5 else 0.0 for value in x.flatten().tolist()]
    assert y.flatten().tolist() == expected
    stood = stream.state_dict()
    following = stream.batch()[0]
    assert not torch.equal(following, x)
    other = Numbers(configured(batch=20_000), 99, CPU)
    other.load_state_dict(stood)
    assert torch.equal(other.batch()[0], following)


def test_the_network_is_the_published_one() -> None:
    model = trained(configured(steps=3)).model
    kinds = [type(module).__name__ for module in model.modules() if not list(module.children())]
    assert kinds == ["Linear", "ELU", "Linear", "ELU", "Linear"], "three dense layers, the last one un-activated"


def test_training_fits_the_jumps() -> None:
    config = configured(steps=1500, lr=3e-3)
    found = measure(config, *look(config, trained(config).model, CPU))
    # The best straight line leaves 1/2 - 3 (3/8)^2 = 0.078 of the mean square of 1/2.
    assert found["error"] < 0.04
    assert found["gradient_at_jumps"] > 3 * abs(found["gradient_elsewhere"])


# ------------------------------------------------------------------------------------------------------ what is kept


def kept(results: Path) -> dict[str, Any]:
    (path,) = (results / "curves").glob("*.npz")
    with np.load(path) as content:
        return dict(content)


def test_three_times_are_kept_and_the_last_is_what_the_network_came_to(tmp_path: Path) -> None:
    config = configured(steps=100, points=33)
    outcome = run(config, tmp_path)
    assert not [name for name in {**outcome.record.metrics, **outcome.record.curve[0]} if "@" in name]
    arrays = kept(tmp_path)
    assert arrays["step"].tolist() == [2, 52, 100]
    assert {name: array.shape for name, array in arrays.items() if name != "step"} == dict.fromkeys(
        ("x", "hard", "output", "gradient"), (3, 33)
    )
    state = checkpoint.load(FIGURE3.run(config, 3).checkpoint_path(tmp_path), FIGURE3.run(config, 3))
    model = begin(config, 3, CPU)[0].model
    model.load_state_dict(state["model"])
    for name, values in zip(("x", "output", "gradient"), look(config, model, CPU), strict=True):
        np.testing.assert_array_equal(arrays[name][-1], values.numpy())
    at_jumps = outcome.record.metrics["gradient_at_jumps"]
    near = np.abs(np.abs(arrays["x"][-1]) - 0.5) < NEAR
    assert arrays["gradient"][-1][near].mean() == pytest.approx(at_jumps, rel=1e-5)


def test_a_run_stopped_and_resumed_leaves_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(steps=60)
    whole = run(config, tmp_path / "whole")
    step = Training.step

    def stopped(self: Training, *given: Any) -> None:
        if self.steps == 37:
            raise KeyboardInterrupt
        step(self, *given)

    monkeypatch.setattr(Training, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "halves", checkpoint_every=5)
    monkeypatch.undo()
    halves = run(config, tmp_path / "halves", resume=True)
    assert not halves.was_done
    assert halves.record.metrics == whole.record.metrics
    for name, array in kept(tmp_path / "whole").items():
        np.testing.assert_array_equal(kept(tmp_path / "halves")[name], array)
