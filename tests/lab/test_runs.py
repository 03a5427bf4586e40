"""Records, checkpoints, and a run that is killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
import torch
from rich.console import Console

from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.atomic import sweep, write_atomically, write_text
from hardgrad_lab.runs.checkpoint import CheckpointError
from hardgrad_lab.runs.execute import How, UnfinishedError, choose_device
from hardgrad_lab.runs.loop import DivergedError, Training
from hardgrad_lab.runs.record import Record, RecordError, Run, config_hash
from lab.sorting_runs import reproduce, run_of

QUIET = Console(quiet=True)
ROOT = Path(__file__).parents[2]
Tiny = Callable[..., Sorting]
FIXED = {"fixed_rows": 100, "near_ties": 0.0}


def weights(config: Sorting, results: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    run = run_of(config, seed)
    state = checkpoint.load(run.checkpoint_path(results), run)
    model: dict[str, torch.Tensor] = state["model"]
    return model


def without_seconds(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in point.items() if name != "seconds"} for point in curve]


# ---------------------------------------------------------------------------------------------------- atomic files


def test_a_write_that_fails_leaves_the_old_file_and_no_stray(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def half(file: Any) -> None:
        file.write(b"new, but only ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_nothing_stands_under_the_name_before_the_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    seen = []

    def write(file: Any) -> None:
        file.write(b"x" * 100_000)
        file.flush()
        seen.append(path.exists())

    write_atomically(path, write)
    assert seen == [False]
    assert path.read_bytes() == b"x" * 100_000


def test_sweep_takes_strays_of_that_file_only(tmp_path: Path) -> None:
    for name in (".a.pt.tmp-1", ".b.pt.tmp-1", "a.pt"):
        (tmp_path / name).touch()
    sweep(tmp_path / "a.pt")
    assert sorted(os.listdir(tmp_path)) == [".b.pt.tmp-1", "a.pt"]


# --------------------------------------------------------------------------------------------------------- records


def a_run(**config: Any) -> Run:
    return Run(experiment="sorting", label="x", config=config, seed=3)


def test_the_name_is_the_same_for_the_same_run_and_differs_with_any_value() -> None:
    assert a_run(lr=1.0, batch=2).name == a_run(batch=2, lr=1.0).name
    names = {a_run(lr=1.0).name, a_run(lr=2.0).name, a_run(lr=1.0, batch=2).name}
    assert len(names) == 3
    assert a_run(lr=1.0).name.startswith("sorting-x-s3-")


def test_the_hash_is_of_the_sorted_json() -> None:
    # printf '{"a": 1, "b": "x"}' | sha256sum
    assert config_hash({"b": "x", "a": 1}) == "ce5c626f"


def test_a_record_comes_back_as_it_was(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    outcome = reproduce(config, 1, How(results=tmp_path), QUIET)
    assert Record.load(outcome.path) == outcome.record
    content = json.loads(outcome.path.read_text())
    assert content["environment"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert content["environment"]["threads"] == 1
    assert content["seed"] == 1
    assert content["samples"] == 64
    assert content["config"]["length"] == 3


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"format": "hardgrad-record-1", "experiment"', "not readable JSON"),
        ('{"format": "something else"}', "not a record of this program"),
        ("[1, 2]", "not a record of this program"),
        ('{"format": "hardgrad-record-1", "experiment": "sorting"}', "lacks config, curve"),
    ],
)
def test_a_bad_record_is_named_with_its_fault(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=rf"bad\.json .*{fault}"):
        Record.load(path)


# ----------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Run]:
    run, path = a_run(lr=1.0), tmp_path / "a.pt"
    checkpoint.save(path, run, {"weight": torch.arange(1000.0)})
    return path, run


def test_a_checkpoint_comes_back_as_it_was(saved: tuple[Path, Run]) -> None:
    assert torch.equal(checkpoint.load(*saved)["weight"], torch.arange(1000.0))


@pytest.mark.parametrize("keep", [0, 10, 500, -20])
def test_a_truncated_checkpoint_is_named_with_the_cure_and_kept(saved: tuple[Path, Run], keep: int) -> None:
    path, run = saved
    damaged = path.read_bytes()[:keep]
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"a\.pt cannot be read.*truncated or damaged.*--force"):
        checkpoint.load(path, run)
    assert path.read_bytes() == damaged


def test_a_foreign_file_is_no_checkpoint(saved: tuple[Path, Run]) -> None:
    path, run = saved
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"a\.pt was not written by this program.*--force"):
        checkpoint.load(path, run)


def test_a_checkpoint_that_would_run_code_is_refused(saved: tuple[Path, Run], tmp_path: Path) -> None:
    path, run = saved
    torch.save({"format": checkpoint.FORMAT, "state": Path("x")}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(path, run)


def test_a_checkpoint_of_another_configuration_says_what_differs(saved: tuple[Path, Run]) -> None:
    with pytest.raises(CheckpointError, match=r"belongs to another run \(lr 1\.0 there, 2\.0 here\)"):
        checkpoint.load(saved[0], a_run(lr=2.0))


# --------------------------------------------------------------------------------------------- killed and resumed

PROGRAM = """
import sys, torch
from functools import partial
from pathlib import Path
from rich.console import Console
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.config import configure
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.loop import DivergedError, Training

results, slow = Path(sys.argv[1]), sys.argv[2] == "slow"
if slow:
    step = Training.step
    def slowly(self, loss, clip):
        if self.steps == 27:
            print("at step 27", flush=True)
            sys.stdin.readline()
        step(self, loss, clip)
    Training.step = slowly
small = {"samples": 1280, "batch": 32, "width": 16, "test_rows": 200, "curve_rows": 100, "evaluations": 4}
given = {**small, **eval(sys.argv[3])}
config = configure("fast", "signum-dense", 3, given)
how = How(results=results, resume="resume" in sys.argv, threads=1, checkpoint_every=5, checkpoint_every_s=1e9)
SORTING.reproduce(SORTING.run(config, 0), Root(), how, Console(quiet=True))
"""


def program(results: Path, *words: str) -> Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(results), *words]
    return Popen(command, env=environment, text=True, stdin=PIPE, stdout=PIPE, stderr=PIPE)


@pytest.mark.parametrize("given", [{}, FIXED, {**FIXED, "drop_last": True}], ids=str)
def test_killed_and_resumed_is_bit_identical_to_uninterrupted(
    tmp_path: Path, tiny: Tiny, given: dict[str, Any]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny(samples=1280, **given)
    reproduce(config, 0, How(results=whole, threads=1), QUIET)

    process = program(killed, "slow", str(given))
    assert process.stdout is not None
    assert process.stdout.readline() == "at step 27\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not run_of(config, 0).record_path(killed).exists()
    run = run_of(config, 0)
    state = checkpoint.load(run.checkpoint_path(killed), run)
    assert state["steps"] == 25, "a kill may cost no more than the five steps since the last checkpoint"

    outcome = reproduce(config, 0, How(results=killed, resume=True, threads=1), QUIET)
    uninterrupted = Record.load(run_of(config, 0).record_path(whole))
    assert without_seconds(outcome.record.curve) == without_seconds(uninterrupted.curve)
    assert outcome.record.metrics == uninterrupted.metrics
    ours, theirs = weights(config, killed), weights(config, whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_after_its_step_and_loses_nothing(
    tmp_path: Path, tiny: Tiny, number: signal.Signals
) -> None:
    process = program(tmp_path, "slow", "{}")
    assert process.stdout is not None
    assert process.stdout.readline() == "at step 27\n"
    process.send_signal(number)
    _, errors = process.communicate("go on\n", timeout=60)
    assert f"Interrupted: stopped by {number.name}" in errors
    config = tiny(samples=1280)
    run = run_of(config, 0)
    assert checkpoint.load(run.checkpoint_path(tmp_path), run)["steps"] == 28
    assert not run.record_path(tmp_path).exists()


# ------------------------------------------------------------------------------------------- done, begun, forced


def test_a_done_run_is_not_run_again_unless_forced(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    first = reproduce(config, 0, How(results=tmp_path), QUIET)
    written = first.path.stat().st_mtime_ns
    again = reproduce(config, 0, How(results=tmp_path), QUIET)
    assert (first.was_done, again.was_done) == (False, True)
    assert again.record == first.record
    assert first.path.stat().st_mtime_ns == written
    forced = reproduce(config, 0, How(results=tmp_path, force=True), QUIET)
    assert not forced.was_done
    assert first.path.stat().st_mtime_ns > written


def test_a_forced_run_that_is_stopped_can_be_resumed(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny()
    first = reproduce(config, 0, How(results=tmp_path), QUIET)
    step = Training.step

    def stopped(self: Training, loss: Any, clip: float) -> None:
        if self.steps == 13:
            raise KeyboardInterrupt
        step(self, loss, clip)

    monkeypatch.setattr(Training, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        reproduce(config, 0, How(results=tmp_path, force=True, checkpoint_every=5), QUIET)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob("*.json*")] == [f"{first.path.name}.old"]
    again = reproduce(config, 0, How(results=tmp_path, resume=True), QUIET)
    assert not again.was_done
    assert again.record.metrics == first.record.metrics


def test_a_damaged_record_of_a_done_run_is_said_with_the_cure(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    path = reproduce(config, 0, How(results=tmp_path), QUIET).path
    path.write_text("{")
    with pytest.raises(RecordError, match=r"is not readable JSON.*run again with --force"):
        reproduce(config, 0, How(results=tmp_path), QUIET)
    assert reproduce(config, 0, How(results=tmp_path, force=True), QUIET).record.samples == 64


def test_a_run_begun_before_asks_whether_to_resume(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    reproduce(config, 0, How(results=tmp_path), QUIET).path.unlink()
    with pytest.raises(UnfinishedError, match=r"begun before.*--resume.*--force"):
        reproduce(config, 0, How(results=tmp_path), QUIET)
    assert reproduce(config, 0, How(results=tmp_path, resume=True), QUIET).record.samples == 64


def test_the_first_checkpoint_is_not_needed_to_resume(tmp_path: Path, tiny: Tiny) -> None:
    assert not reproduce(tiny(samples=64), 0, How(results=tmp_path, resume=True), QUIET).was_done


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_device_is_said() -> None:
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device must be cpu or auto here, got 'cuda'"):
        choose_device("cuda")


class Noise:
    """Rows from a generator of their own, as a stream should draw them."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(8, 4, generator=self.generator)
        return x, x.sum(1, keepdim=True)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def with_dropout() -> Training:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return Training(
        model=model,
        optimizers=[optimizer],
        schedulers=[torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)],
        stream=Noise(),
        loss=lambda x, y: (model(x) - y).square().mean(),
        evaluate=lambda last: {"accuracy": 0.0},
    )


def test_a_model_that_draws_random_numbers_goes_on_bit_identically(tmp_path: Path) -> None:
    run, path = a_run(), tmp_path / "a.pt"
    whole = with_dropout()
    for step in range(10):
        if step == 5:
            checkpoint.save(path, run, whole.state_dict())
        whole.step(whole.loss, clip=0.0)
    resumed = with_dropout()
    torch.manual_seed(99)
    resumed.load_state_dict(checkpoint.load(path, run))
    for _ in range(5):
        resumed.step(resumed.loss, clip=0.0)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert resumed.averages() == whole.averages()


def test_a_step_is_no_longer_than_the_clip() -> None:
    lengths = []
    for clip in (0.0, 0.25):
        training = with_dropout()
        training.optimizers = [torch.optim.SGD(training.model.parameters(), lr=1.0)]
        training.schedulers = []
        before = torch.nn.utils.parameters_to_vector(training.model.parameters()).detach()
        training.step(training.loss, clip)
        after = torch.nn.utils.parameters_to_vector(training.model.parameters()).detach()
        lengths.append((after - before).norm().item())
    assert lengths[0] > 0.5
    assert lengths[1] == pytest.approx(0.25, rel=1e-4)


def test_a_point_is_measured_in_eval_without_gradients_and_averages_start_anew() -> None:
    training = with_dropout()
    modes = []

    def evaluate(last: bool) -> dict[str, float]:
        modes.append((training.model.training, torch.is_grad_enabled(), last))
        return {"accuracy": 0.5}

    training.evaluate = evaluate
    losses = []
    for _ in range(3):
        training.step(training.loss, clip=0.0)
        losses.append(training.sums[0].item() - sum(losses))
    training.add_point(last=True)
    assert modes == [(False, False, True)]
    assert training.model.training
    assert training.curve[0]["loss"] == pytest.approx(sum(losses) / 3)
    assert training.curve[0]["samples"] == 24
    training.step(training.loss, clip=0.0)
    assert training.averages()["loss"] == training.sums[0].item()


def test_resuming_on_another_machine_says_that_bits_may_differ(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    reproduce(config, 0, How(results=tmp_path, threads=1), QUIET).path.unlink()
    console = Console(record=True, width=200)
    reproduce(config, 0, How(results=tmp_path, resume=True, threads=2), console)
    said = console.export_text()
    assert "not bit for bit what an uninterrupted run gives: threads 1 then, 2 now" in said
    assert "resuming sorting-signum-dense-t3-fast-s0" in said


def test_a_run_that_diverges_says_so_and_leaves_no_record(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("tanh-dense", lr=1e38, schedule="constant")
    with pytest.raises(DivergedError, match=r"the training diverged: loss (nan|inf).* at sample 160; a smaller lr"):
        reproduce(config, 0, How(results=tmp_path), QUIET)
    assert list(tmp_path.glob("*.json")) == []


def test_a_compiled_loss_trains_the_same(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced in full, but run by torch's own kernels: building new ones takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    config = tiny(margin=0.01)
    curves = []
    for compiled in (False, True):
        how = How(results=tmp_path / str(compiled), compiled=compiled)
        outcome = reproduce(config, 0, how, QUIET)
        assert outcome.record.environment["compiled"] is compiled
        curves.append([(point["loss"], point["penalty"]) for point in outcome.record.curve])
    assert curves[0][0][1] > 0
    torch.testing.assert_close(torch.tensor(curves[0]), torch.tensor(curves[1]), rtol=1e-3, atol=1e-3)


def test_a_run_sweeps_away_what_a_killed_one_left(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    run = run_of(config, 0)
    strays = [
        path.parent / f".{path.name}.tmp-x" for path in (run.record_path(tmp_path), run.checkpoint_path(tmp_path))
    ]
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        stray.touch()
    reproduce(config, 0, How(results=tmp_path), QUIET)
    assert not any(stray.exists() for stray in strays)


def test_another_seed_is_another_run(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    for seed in (0, 1):
        reproduce(config, seed, How(results=tmp_path), QUIET)
    ours, theirs = weights(config, tmp_path, 0), weights(config, tmp_path, 1)
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours)
