"""Runs at the edges: crowded, starved, stopped in their first second, killed, and with a clock that jumps."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.fit.folder import load_model
from hardgrad_lab.runs import aside, atomic, checkpoint, lock, model_folder, space
from hardgrad_lab.runs.atomic import sweep, write_atomically, write_text
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.record import Record
from lab.sorting_runs import reproduce, run_of

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)
FIT = ["fit", "data.csv", "--target", "y", "--key", "x", "--points=-1,0,1", "--hidden", "4", "--no-baselines"]
Tiny = Callable[..., Sorting]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("x,y\n" + "".join(f"{i / 50 - 1},{abs(i / 50 - 1)}\n" for i in range(100)))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def program(code: str, *words: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(), text=True, **pipes, **options)


# --------------------------------------------------------------------------------------------------------- crowded

HOLDS = """
import sys
from pathlib import Path
from hardgrad_lab.runs.lock import locked
with locked(Path(sys.argv[1]), "it", "go"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held(path: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a lock in another process."""
    with program(HOLDS, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("\n", timeout=60)


def test_a_second_fit_of_one_out_is_told_who_is_at_it_before_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    with held("model") as process:
        assert cli.main([*FIT, "--epochs", "1"]) == 1
        said = capsys.readouterr()
        assert re.fullmatch(
            rf"hardgrad: --out model is being worked on by process {process.pid} on \S+ since 20\d\d-\S+; wait until "
            "it ends, or choose another --out\n",
            said.err,
        )
        assert "epoch" not in said.out
        assert cli.main([*FIT, "--epochs", "1", "--out", "other"]) == 0
    assert cli.main([*FIT, "--epochs", "1"]) == 0


def test_a_second_process_on_a_run_leaves_the_first_in_peace(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    path = run_of(config, 0).checkpoint_path(tmp_path)
    with held(str(path)) as process:
        writing = path.parent / f".{path.name}.tmp-{aside.host()}.{process.pid}.x"
        writing.write_text("half a checkpoint")
        with pytest.raises(lock.InUseError, match=rf"run sorting-\S+ is being worked on by process {process.pid} on"):
            reproduce(config, 0, How(results=tmp_path), QUIET)
        assert writing.exists()
    assert not reproduce(config, 0, How(results=tmp_path), QUIET).was_done
    assert [each.name for each in path.parent.iterdir()] == [path.name], "neither a lock nor a stray is left"


def test_the_lock_of_a_killed_process_is_taken_over_and_that_is_said(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    with held(str(run_of(config, 0).checkpoint_path(tmp_path))) as process:
        process.kill()
        process.wait()
    console = Console(record=True, width=200)
    reproduce(config, 0, How(results=tmp_path), console)
    said = console.export_text()
    assert re.search(rf"process {process.pid} on \S+ since \S+ began this run and is gone; this process takes it", said)


def test_where_folders_have_no_locks_the_holder_in_the_file_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    name = aside.beside(Path("a"), "lock")
    there = {"process": os.getppid(), "machine": "vm", "host": aside.host(), "since": "2026-01-01T00:00:00+00:00"}
    for process, host, free in [
        (os.getppid(), aside.host(), False),
        (2**22 + 7, aside.host(), True),
        (1, "0" * 8, False),
    ]:
        name.write_text(json.dumps({**there, "process": process, "host": host}))
        if free:
            with lock.locked(Path("a"), "it", "go"):
                pass
        else:
            with (
                pytest.raises(lock.InUseError, match=f"process {process} on vm since 2026"),
                lock.locked(Path("a"), "it", "go"),
            ):
                pass
    with (
        pytest.raises(lock.InUseError, match=r"or remove \.a\.lock if that process is gone"),
        lock.locked(Path("a"), "it", "go"),
    ):
        pass


def test_nobody_sweeps_what_a_living_process_writes() -> None:
    path = Path("a[1].pt")  # whose name is a pattern, too
    alive = Path(f".a[1].pt.tmp-{aside.host()}.{os.getppid()}.x")
    gone = Path(f".a[1].pt.tmp-{aside.host()}.{2**22 + 7}.x")
    elsewhere, older = Path(".a[1].pt.tmp-00000000.1.x"), Path(".a[1].pt.tmp-8qy097ul")
    for each in (alive, gone, elsewhere, older):
        each.touch()
    sweep(path)
    assert [each.exists() for each in (alive, gone, elsewhere, older)] == [True, False, True, False]
    sweep(path, alone=True)
    assert not alive.exists()
    assert not elsewhere.exists()


# ---------------------------------------------------------------------------------------------------------- starved

LIMITED = """
import resource, sys
from hardgrad_lab.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([*FIT, "--out", "m"], "m.checkpoint.pt"),
        (["reproduce", "sorting", "--budget", "smoke"], r"\S+/checkpoints/\S+\.pt"),
    ],
)
def test_too_little_room_is_said_before_anything_is_trained(words: list[str], name: str) -> None:
    pytest.importorskip("resource")
    with program(LIMITED, "5000", *words) as process:
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.fullmatch(rf"hardgrad: {name}: File too large; raise the limit .*\n", errors)
    assert "epoch" not in out
    assert "samples " not in out
    assert list(Path.cwd().rglob(".*")) == [], "no lock, no trial, no stray"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("data.csv", "data.csv is there and is no model folder; choose another --out"),
        ("data.csv/m", "data.csv: File exists; a file stands where a folder should be"),
        ("n" * 300, "File name too long; choose a shorter name"),
        ("n" * 250, "File name too long; choose a shorter name"),
    ],
)
def test_a_place_where_nothing_can_be_is_refused_before_training(
    capsys: pytest.CaptureFixture[str], out: str, said: str
) -> None:
    assert cli.main([*FIT, "--out", out]) == 1
    assert said in capsys.readouterr().err
    assert os.listdir() == ["data.csv"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.ENOSPC])
def test_a_folder_that_takes_nothing_is_said_with_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "_fill", refuse)
    assert cli.main([*FIT, "--out", "m"]) == 1
    assert capsys.readouterr().err == f"hardgrad: m.checkpoint.pt: {os.strerror(number)}; {space.CURES[number]}\n"


def test_less_free_than_a_run_needs_is_said_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    with pytest.raises(space.RoomError, match=r"this fit needs about 5\.0 MB in \., which has 3\.0 MB free; free some"):
        space.ask_for_room(Path("m"), 5_000_000, "this fit")
    with pytest.raises(space.RoomError, match=r"needs about 4\.0 MB"):  # an old and a new checkpoint at a time
        space.try_to_write(Path("m"), lambda file: file.writelines([bytes(2_000_000)]), "this fit")
    assert os.listdir() == ["data.csv"]


def full_from(monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """Let the checkpoints from one number to another fail as on a full disk; torch hides the cause in its own words."""
    fill, written = atomic._fill, []

    def filling(handle: int, write: Any) -> None:
        written.append(handle)
        if first <= len(written) <= last:
            os.close(handle)
            raise OSError(errno.ENOSPC, "No space left on device")
        fill(handle, write)

    monkeypatch.setattr(atomic, "_fill", filling)


def test_a_disk_that_fills_up_costs_no_training(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    whole = reproduce(config, 0, How(results=tmp_path / "whole"), QUIET).record
    full_from(monkeypatch, 4, 6)  # after two trials and the first checkpoint, at step 5
    console = Console(record=True, width=300)
    record = reproduce(config, 0, How(results=tmp_path / "full", checkpoint_every=5), console).record
    said = console.export_text()
    assert said.count("No space left on device; free some space") == 1
    assert "The training goes on; an earlier checkpoint stays" in said
    assert "checkpoints are written again" in said
    assert record.metrics == whole.metrics


def test_a_signal_on_a_full_disk_does_not_claim_to_have_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardgrad_lab.commands.machine import stopped
    from hardgrad_lab.runs.signals import Interrupted

    error = Interrupted(signal.SIGINT, "x.pt: No space left on device")
    assert "could not be saved: x.pt: No space" in str(stopped(error, "the run", tmp_path / "none.pt"))
    assert not stopped(error, "the run", tmp_path / "none.pt").again
    assert "its last steps could not be saved" in str(stopped(error, "the run", Path("data.csv")))


def test_a_finished_fit_is_kept_elsewhere_where_its_own_place_is_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write, asked = model_folder.write_folder, []

    def writing(path: Path, *rest: Any, **options: Any) -> None:
        asked.append(path)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *rest, **options)

    monkeypatch.setattr(model_folder, "write_folder", writing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main([*FIT, "--epochs", "2", "--out", "m"]) == 1
    assert f"hardgrad: the model is in {asked[1]}, since it could not be written where it belongs: m: No space" in (
        capsys.readouterr().err
    )
    assert load_model(asked[1]).n_iter_ == 2


def test_a_fault_of_the_disk_comes_through_torch_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_File", type("Full", (atomic._File,), {"write": _failing}))
    with pytest.raises(OSError, match=r"No space left on device: 'a\.pt'"):
        write_atomically(Path("a.pt"), lambda file: torch.save(torch.zeros(3_000_000), file))
    assert os.listdir() == ["data.csv"]


def _failing(self: Any, data: Any) -> int:
    self.fault = OSError(errno.ENOSPC, "No space left on device")
    raise self.fault


# ----------------------------------------------------------------------------------- the first second, and Windows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_first_second_is_one_sentence(number: signal.Signals) -> None:
    """At moments spread over the imports: Python itself takes some 20 ms before the first line of ours."""
    waits = "import sys\nprint('here', flush=True)\nfrom hardgrad_lab.cli import main\nsys.exit(main(sys.argv[1:]))"
    for delay in (0.05, 0.3, 0.8):
        with program(waits, *FIT, "--epochs", "100000", "--patience", "100000") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert errors.startswith(f"hardgrad: stopped by {number.name}; ")
        assert errors.count("\n") == 1


def test_a_signal_in_the_middle_of_an_import_ends_at_once_and_clears_up(tmp_path: Path) -> None:
    Path("slow_import.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nprint('went on')\n")
    code = (
        "import sys, pathlib\nfrom hardgrad_lab import cli\nfrom hardgrad_lab.runs import aside\n"
        "stray = pathlib.Path('stray'); stray.touch(); aside.ALOFT.add(stray)\n"
        "cli._listen({})\ntry:\n    import slow_import\nexcept BaseException:\n    print('raised')\n"
    )
    with program(code, cwd=tmp_path) as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert errors.startswith("hardgrad: stopped by SIGTERM; ")
    assert not Path("stray").exists()


def as_windows_does(monkeypatch: pytest.MonkeyPatch, busy: int = 0) -> None:
    """Let ``os.replace`` refuse a folder that is there, and a few times a file that somebody has open."""
    replace, asked = os.replace, []

    def replacing(source: Path, target: Path) -> None:
        asked.append(target)
        if Path(target).is_dir():
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        if len(asked) <= busy:
            error = PermissionError(errno.EACCES, "The process cannot access the file", str(target))
            error.winerror = 32  # type: ignore[attr-defined]  # Windows alone has it
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", replacing)


def test_a_model_replaces_another_where_no_folder_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    as_windows_does(monkeypatch)
    Path("model").mkdir()
    assert cli.main([*FIT, "--epochs", "1"]) == 0, "an empty folder is nobody's"
    assert cli.main([*FIT, "--epochs", "2", "--force"]) == 0
    assert load_model("model").n_iter_ == 2
    assert sorted(os.listdir()) == ["data.csv", "model"]


def test_a_file_that_somebody_reads_is_replaced_when_he_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    as_windows_does(monkeypatch, busy=3)
    write_text(Path("a.json"), "new")
    assert Path("a.json").read_text() == "new"


def test_a_model_put_aside_by_a_killed_process_comes_back() -> None:
    assert cli.main([*FIT, "--epochs", "1"]) == 0
    Path("model").rename(aside.beside(Path("model"), model_folder.OLD))
    model_folder.sweep_folder(Path("model"))
    assert load_model("model").n_iter_ == 1


def test_every_run_has_a_name_that_windows_takes() -> None:
    from hardgrad_lab.plan.groups import groups_of

    groups = [group for budget in ("smoke", "small", "paper") for group in groups_of(budget)]  # type: ignore[arg-type]
    names = [run.name for group in groups for run in group.runs]
    assert len(names) > 500
    assert [name for name in names if not re.fullmatch(r"[\w.+=,-]+", name) or len(name) > 150] == []


# ------------------------------------------------------------------------------------------- clocks, and kills


def test_a_clock_that_jumps_moves_neither_seconds_nor_checkpoints(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter([2e9, 1e9] * 100_000)  # thirty years back and forth at every look
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    record = reproduce(tiny(), 0, How(results=tmp_path), QUIET).record
    assert 0 < record.seconds < 60
    assert all(0 <= point["seconds"] <= record.seconds for point in record.curve)


def test_durations_are_taken_from_clocks_that_do_not_jump() -> None:
    """``time.time`` and a difference of dates belong to stamps alone; nothing in the lab needs the first at all."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\btime\.time\(|datetime\.now\(\)|utcnow", line)
    ]
    assert found == []


def test_a_checkpoint_of_other_shapes_is_refused_in_words(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny(samples=64)
    reproduce(config, 0, How(results=tmp_path), QUIET).path.unlink()
    run = run_of(config, 0)
    path = run.checkpoint_path(tmp_path)
    state = checkpoint.load(path, run)
    for name, value, fault in [
        ("steps", "x", "steps is of type str, not int"),
        ("steps", 10**9, "steps are 1000000000 of 2"),
        ("model", {}, "is missing"),
        ("optimizer 0", None, "optimizer 0 is of type NoneType, not dict"),
        ("stream", {}, "KeyError"),
    ]:
        checkpoint.save(path, run, {**state, name: value})
        before = path.read_bytes()
        with pytest.raises(checkpoint.CheckpointError, match=rf"does not hold the state of this run \(.*{fault}"):
            reproduce(config, 0, How(results=tmp_path, resume=True), QUIET)
        assert path.read_bytes() == before


def test_a_record_that_cannot_be_written_is_only_a_resume_away(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(samples=64)

    def full(self: Record, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Record, "save", full)
    with pytest.raises(OSError, match=r"the training is done, but .* holds the run, so --resume only has to write"):
        reproduce(config, 0, How(results=tmp_path), QUIET)
    monkeypatch.undo()
    steps: list[int] = []
    step = Training.step
    monkeypatch.setattr(Training, "step", lambda self, loss, clip: (steps.append(1), step(self, loss, clip)))
    assert reproduce(config, 0, How(results=tmp_path, resume=True), QUIET).record.samples == 64
    assert steps == []


def test_what_a_killed_trial_leaves_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"

    def killed(file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process deletes nothing
        with pytest.raises(KeyboardInterrupt):
            space.try_to_write(path, killed, "this run")
    assert len(list(tmp_path.glob(".*"))) == 1
    sweep(path, alone=True)
    assert list(tmp_path.glob(".*")) == []
