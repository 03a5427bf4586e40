"""What a run may be asked for: schedules, bfloat16, TensorBoard, progress, and what its record says of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.runs.execute import How, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.progress import LINES, LinePerPoint
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import schedulers

QUIET = Console(quiet=True)
RUN = Run(experiment="tiny", label="tiny", config={}, seed=0)


class Same:
    """The same batch without end."""

    def batch(self) -> tuple[Tensor, Tensor]:
        x = torch.linspace(-1, 1, 32).view(8, 4)
        return x, x.sum(1, keepdim=True)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


def begin(
    device: torch.device,
    *,
    measured: Callable[[bool], dict[str, float]] = lambda last: {"bound": 2.0},
    dtypes: list[torch.dtype] | None = None,
    steps: int = 8,
) -> tuple[Training, Plan]:
    model = nn.Sequential(nn.Linear(4, 6), hg.Bridge(hg.hard.sign, hg.approximators.mlp(6, 6)), nn.Linear(6, 1))
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1:].parameters()}], 0.2)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        said = model(x)
        if dtypes is not None:
            dtypes.append(said.dtype)
        return (said - y).square().mean()

    training = Training(
        model=model.to(device),
        optimizers=[optimizer],
        schedulers=schedulers("cosine", [optimizer], steps),
        stream=Same(),
        loss=loss,
        evaluate=measured,
        rows="one batch, again and again",
    )
    return training, Plan(steps=steps, evaluate_every=2)


# ------------------------------------------------------------------------------------------------------- schedules


def rates(schedule: Any, steps: int) -> list[list[float]]:
    weight = nn.Parameter(torch.zeros(1))
    other = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 1.0}, {"params": [other], "lr": 0.5}])
    made = schedulers(schedule, [optimizer], steps)
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        for each in made:
            each.step()
    return found


def between(start: float, end: float, share: float) -> float:
    """Half a cosine wave from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def test_a_cosine_falls_from_each_groups_own_rate_to_nought() -> None:
    expected = [[between(peak, 0.0, step / 101) for peak in (1.0, 0.5)] for step in range(100)]
    torch.testing.assert_close(torch.tensor(rates("cosine", 100)), torch.tensor(expected))


def test_one_cycle_rises_over_a_tenth_and_falls_far() -> None:
    found = rates("one-cycle", 100)
    top = 0.1 * 101 - 1  # torch counts its steps from nought
    for peak, column in zip((1.0, 0.5), zip(*found, strict=True), strict=True):
        rising = [between(peak / 25, peak, step / top) for step in range(10)]
        falling = [between(peak, peak / 25 / 1e3, (step - top) / (100 - top)) for step in range(10, 100)]
        assert list(column) == pytest.approx(rising + falling)


def test_a_constant_rate_has_nothing_to_step() -> None:
    assert rates("constant", 5) == [[1.0, 0.5]] * 5


def test_a_short_run_can_have_any_schedule() -> None:
    for schedule in ("constant", "one-cycle", "cosine"):
        assert len(rates(schedule, 1)) == 1


# -------------------------------------------------------------------------------------------------------- bfloat16


def test_bf16_is_for_the_loss_alone_and_stands_in_the_record(tmp_path: Path) -> None:
    dtypes: dict[bool, list[torch.dtype]] = {True: [], False: []}
    firsts = []
    for bf16 in (False, True):
        how = How(results=tmp_path / str(bf16), device="cpu", bf16=bf16)
        outcome = execute(RUN, partial(begin, dtypes=dtypes[bf16]), how, QUIET)
        environment = outcome.record.environment
        assert environment.get("bf16", False) == bf16
        firsts.append(outcome.record.curve[0]["loss"])
    assert set(dtypes[False]) == {torch.float32}
    assert set(dtypes[True]) == {torch.bfloat16}
    assert firsts[0] != firsts[1]
    assert firsts[1] == pytest.approx(firsts[0], rel=0.05)


def test_weights_and_evaluations_stay_in_single_precision(tmp_path: Path) -> None:
    seen: list[Training] = []
    dtypes = []

    def begun(device: torch.device) -> tuple[Training, Plan]:
        def measured(last: bool) -> dict[str, float]:
            dtypes.append(seen[0].model(torch.zeros(2, 4)).dtype)
            return {"bound": float(last)}

        training, plan = begin(device, measured=measured)
        seen.append(training)
        return training, plan

    execute(RUN, begun, How(results=tmp_path, device="cpu", bf16=True), QUIET)
    assert set(dtypes) == {torch.float32}
    assert {parameter.dtype for parameter in seen[0].model.parameters()} == {torch.float32}


def test_what_a_run_saw_stands_in_its_record(tmp_path: Path) -> None:
    environment = execute(RUN, begin, How(results=tmp_path, device="cpu"), QUIET).record.environment
    assert environment["rows"] == "one batch, again and again"
    assert {"bf16", "processes"} & environment.keys() == set(), "as in records of before"


# ------------------------------------------------------------------------------------- checkpoints, lines, pictures


def test_how_often_to_save_is_the_users_choice_whatever_the_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr("hardgrad_lab.runs.checkpoint.save", lambda path, run, state: saved.append(state["steps"]))
    how = How(results=tmp_path, device="cpu", checkpoint_every=3, checkpoint_every_s=1e9)
    execute(RUN, begin, how, QUIET)
    assert saved == [3, 6, 8]


@pytest.mark.parametrize(("steps", "every", "lines"), [(100, 10, 10), (1000, 1, 25), (103, 2, 18), (7, 100, 1)])
def test_a_long_run_says_a_few_lines_and_always_its_last(steps: int, every: int, lines: int) -> None:
    console = Console(record=True, width=200)
    plan = Plan(steps=steps, evaluate_every=every)
    training, _ = begin(torch.device("cpu"))
    line = LinePerPoint(console, plan)
    training.curve = [{"loss": 1.0}]
    for step in range(1, steps + 1):
        training.steps = step
        if step % every == 0 or step == steps:
            line.point(training)
    said = console.export_text().splitlines()
    assert len(said) == lines <= LINES
    assert said[-1].startswith("100.0%")


def test_a_line_shows_what_the_evaluation_found_but_not_all_of_it() -> None:
    console = Console(record=True, width=200)
    training, plan = begin(torch.device("cpu"), steps=2)
    training.steps, training.samples, training.seconds = 2, 16, 1.0
    measures = {"accuracy": 0.5, "esr": 0.123456, "ms_ssim": 0.98764, "x@0": 1.0, "bound": -109.59, "fifth": 5.0}
    training.curve = [{"samples": 16, "seconds": 1.0, "loss": 2.0, "penalty": 0.5, **measures}]
    LinePerPoint(console, plan).point(training)
    figures = "loss 2.000  penalty 0.5000  accuracy 50.00%  ESR 0.123  ms_ssim 0.9876  bound -109.6  16 samples/s"
    assert console.export_text() == f"100.0%  samples 16  {figures}  0 s left\n"


def test_tensorboard_gets_the_curve_and_the_rates(tmp_path: Path) -> None:
    execute(RUN, begin, How(results=tmp_path, device="cpu", tensorboard=True), QUIET)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / RUN.name))
    events.Reload()
    names = {"loss", "penalty", "seconds", "bound", "learning rate/0.0", "learning rate/0.1"}
    assert set(events.Tags()["scalars"]) == names
    assert [(event.step, event.value) for event in events.Scalars("bound")] == [(step, 2.0) for step in (2, 4, 6, 8)]
    # One step of the schedule is taken after each step of the optimiser.
    expected = [between(0.1, 0.0, step / 9) for step in (2, 4, 6, 8)]
    assert [event.value for event in events.Scalars("learning rate/0.0")] == pytest.approx(expected)


def test_tensorboard_is_asked_for_by_the_name_of_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardgrad_lab.runs.board.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--tensorboard needs TensorBoard; .*pip install 'hardgrad\[tensorboard\]'"):
        execute(RUN, begin, How(results=tmp_path, device="cpu", tensorboard=True), QUIET)
