"""Boxes in processes of their own: what dies, hangs or is killed costs no result, and nothing is left behind."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import hardgrad as hg
import programs

SECONDS = 20.0  # to wait for what takes a tenth of one, on a machine that is busy
TESTS, SOURCE = Path(__file__).parent, Path(hg.__file__).parent.parent


def rows(*first: float) -> Tensor:
    return torch.tensor(first, dtype=torch.float32).unsqueeze(1).expand(-1, 2)


def processes(words: str) -> list[int]:
    """The processes, dead ones that nobody waited for included, whose command holds these words."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    ).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if words in line]


def mine() -> list[int]:
    """The children of this process that are workers or were: a zombie has lost its command."""
    form = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="]
    lines = [line.split(None, 3) for line in subprocess.run(form, capture_output=True, text=True).stdout.splitlines()]
    return [
        int(pid)
        for pid, parent, state, command in lines
        if int(parent) == os.getpid() and ("worker.py" in command or state.startswith("Z")) and int(pid) not in _before
    ]


_before: list[int] = []  # what other tests left


def eventually(true: Any) -> bool:
    limit = time.monotonic() + SECONDS
    while not true() and time.monotonic() < limit:
        time.sleep(0.02)
    return bool(true())


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    _before.clear()
    _before.extend(mine())
    yield
    gc.collect()
    assert mine() == []


# -------------------------------------------------------------------------------------------------------- what they do


def test_rows_come_back_in_order_from_processes_that_stay() -> None:
    with hg.BlackBox(factory=programs.Instance, workers=2) as box:
        y = torch.cat([box(rows(*range(12))), box(rows(*range(12, 24)))])
    assert y[:, 2].tolist() == list(range(24))
    assert len(set(y[:, 0].tolist())) == 2
    for process in y[:, 0].unique():
        assert y[y[:, 0] == process, 1].tolist() == list(range(1, int((y[:, 0] == process).sum()) + 1))
    assert box.calls == 24


def test_a_worker_imports_what_the_program_needs_and_nothing_else() -> None:
    with hg.BlackBox(programs.modules, workers=1) as box:
        assert box(rows(0)).tolist() == [[0.0, 0.0]]


def test_no_more_workers_than_rows() -> None:
    with hg.BlackBox(programs.double, workers=5) as box:
        assert torch.equal(box(rows(1, 2)), rows(2, 4))
        assert len(mine()) == 2


def test_a_batch_is_one_row_of_a_worker() -> None:
    with hg.BlackBox(programs.double, workers=1, batched=True, timeout=50) as box:
        assert torch.equal(box(rows(1, 2)), rows(2, 4))
        assert box(rows(1, 2).half()).dtype == torch.float16


def test_what_a_program_prints_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with hg.BlackBox(programs.printing, workers=1) as box:
        box(rows(7))
    assert capfd.readouterr().out == "heard 7\n"


def test_inside_a_surrogate_with_a_cache() -> None:
    with hg.BlackBox(programs.double, workers=2, cache=10) as box:
        x = rows(1, 2, 1, 3).clone().requires_grad_()
        y = hg.straight_through(box)(x)
        assert torch.equal(y.detach(), rows(2, 4, 2, 6))
        y.sum().backward()
        assert x.grad is not None
        assert (box.calls, box.hits) == (3, 1)


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_an_error_in_a_worker_is_the_rows_and_keeps_its_traceback() -> None:
    with hg.BlackBox(programs.told, workers=2, cache=9) as box:
        words = r"^BlackBox\(told\): row 1: the program raised ValueError: a knob is stuck"
        with pytest.raises(hg.BoxError, match=words) as caught:
            box(rows(0, 1, 0.5))
        assert caught.value.row == 1
        assert "programs.py" in str(caught.value.__cause__)
        assert "raise ValueError" in str(caught.value.__cause__)
        before = box.calls
        assert torch.equal(box(rows(0)), rows(0))
        assert box.calls == before  # what was done is kept
        with pytest.raises(hg.BoxError, match="the program raised SystemExit: no licence"):
            box(rows(5))
        with pytest.raises(hg.BoxError, match=r"row 0: fn must return an array.*NoneType"):
            box(rows(6))
        assert torch.equal(box(rows(0.25)), rows(0.5))


def test_a_result_that_cannot_be_sent_names_the_cure() -> None:
    with hg.BlackBox(programs.with_memory, workers=1) as box, pytest.raises(hg.BoxError, match=r"sent back.*give out="):
        box(rows(0))


def test_a_worker_that_hangs_is_ended_and_its_row_said() -> None:
    with hg.BlackBox(programs.told, workers=2, timeout=0.4, cache=9) as box:
        with pytest.raises(hg.BoxError, match=r"row 1: took longer than timeout=0.4 seconds") as caught:
            box(rows(0, 2, 0.25))
        assert caught.value.row == 1
        assert {i: float(value[0]) for i, value in caught.value.results.items()} == {0: 0.0, 2: 0.5}
        assert torch.equal(box(rows(0, 0.125, 0.25)), rows(0, 0.25, 0.5))


def test_the_time_is_that_of_a_row_alone() -> None:
    with hg.BlackBox(programs.waits, workers=1, timeout=0.6) as box:
        assert torch.equal(box(rows(0.2, 0.21, 0.22, 0.23)), rows(0.2, 0.21, 0.22, 0.23))
        time.sleep(0.7)
        assert torch.equal(box(rows(0)), rows(0))


@pytest.mark.parametrize(("what", "how"), [(3, "exit code 7"), (4, "SIGSEGV")])
def test_a_row_that_kills_three_workers_is_given_up(what: int, how: str) -> None:
    with hg.BlackBox(programs.told, workers=1) as box:
        with pytest.raises(hg.BoxError, match=rf"row 1: 3 workers in turn died of it \({how}, {how}, {how}\)"):
            box(rows(0, what))
        assert torch.equal(box(rows(0)), rows(0))


@pytest.mark.parametrize(
    ("factory", "words"),
    [(programs.broken_factory, "raised OSError: no such plug-in"), (programs.ends_at_once, "3 of them.*exit code 3")],
)
def test_a_factory_that_fails_in_a_worker_is_said(factory: Any, words: str) -> None:
    with hg.BlackBox(factory=factory, workers=2) as box:
        for _ in range(2):
            with pytest.raises(hg.BoxError, match=r"BlackBox\(\w+\): a worker could not make the program.*" + words):
                box(rows(0, 1))


def test_what_cannot_be_sent_is_said() -> None:
    for box in (hg.BlackBox(lambda row: row, workers=1), hg.BlackBox(factory=lambda: abs, workers=1)):
        with pytest.raises(ValueError, match=r"cannot be sent to workers.*give factory=, a function of a module"):
            box(rows(0))


def test_what_a_program_started_ends_with_its_worker() -> None:
    def refused() -> None:
        with hg.BlackBox(programs.starts_another, workers=1, timeout=1.0) as box:
            with pytest.raises(hg.BoxError, match="took longer"):
                box(rows(77))

    thread = threading.Thread(target=refused)
    thread.start()
    assert eventually(lambda: len(processes("child of box 77")) == 1)
    thread.join()
    assert eventually(lambda: processes("child of box 77") == [])


# ------------------------------------------------------------------------------------------------- killed at any moment


def test_a_worker_killed_at_any_moment_costs_no_result() -> None:
    """20 kills, one in each call, at a moment of the call drawn anew: while it starts, runs, sends, or waits."""
    draw = random.Random(5)
    killed = []

    def kill(after: float, at: int) -> None:
        time.sleep(after)
        alive = mine()
        with contextlib.suppress(IndexError, ZeroDivisionError, ProcessLookupError):  # none, or none any more
            os.kill(alive[at % len(alive)], signal.SIGKILL)
            killed.append(at)

    with hg.BlackBox(programs.slow, workers=2) as box, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether one was at work when it was killed is chance
        for _ in range(20):
            thread = threading.Thread(target=kill, args=(draw.uniform(0, 0.1), draw.randrange(2)))
            thread.start()
            y = box(rows(*range(8)))
            thread.join()
            assert torch.equal(y, rows(*range(8)) * 2)
    assert len(killed) > 10
    assert box.calls == 160


def test_the_row_of_a_worker_that_died_runs_again_and_is_named(tmp_path: Path) -> None:
    with hg.BlackBox(functools.partial(programs.dies_once, str(tmp_path)), workers=1) as box:
        words = r"^BlackBox\(dies_once\): workers died and were replaced, and their rows ran again: 1 \(exit code 9\)$"
        with pytest.warns(UserWarning, match=words) as caught:
            assert torch.equal(box(rows(0, 1, 0)), rows(0, 2, 0))
        assert len(caught) == 1
        assert box.calls == 3


def test_a_worker_killed_while_it_waits_is_replaced_in_silence() -> None:
    with hg.BlackBox(programs.double, workers=1) as box:
        box(rows(1))
        os.kill(mine()[0], signal.SIGKILL)
        time.sleep(0.05)
        assert torch.equal(box(rows(2)), rows(4))


# ----------------------------------------------------------------------------------------------------- nothing is left


def test_workers_end_with_close_with_the_box_and_start_again() -> None:
    box = hg.BlackBox(programs.double, workers=1)
    box(rows(1))
    assert len(mine()) == 1
    box.close()
    box.close()
    assert mine() == []
    assert torch.equal(box(rows(1)), rows(2))
    assert len(mine()) == 1
    del box
    gc.collect()
    assert mine() == []


def test_copies_have_workers_of_their_own() -> None:
    with hg.BlackBox(programs.double, workers=1) as box:
        box(rows(1))
        for other in (copy.deepcopy(box), pickle.loads(pickle.dumps(box)), hg.strip(box)):
            assert len(mine()) == 1
            assert torch.equal(other(rows(2)), rows(4))
            assert other.calls == 2
            other.close()


def test_threads_share_the_workers() -> None:
    with hg.BlackBox(programs.slow, workers=2) as box:
        found: dict[int, Tensor] = {}
        threads = [threading.Thread(target=lambda i=i: found.update({i: box(rows(i, i + 10))})) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(torch.equal(found[i], rows(i, i + 10) * 2) for i in range(4))
        assert len(mine()) == 2


class _Boxed(Dataset[Tensor]):
    def __init__(self, box: hg.BlackBox) -> None:
        self.box = box

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return self.box(rows(index))[0]


def test_a_forked_process_has_workers_of_its_own() -> None:
    with hg.BlackBox(factory=programs.Instance, workers=1) as box:
        here = float(box(rows(0))[0, 0])
        there = torch.stack(list(DataLoader(_Boxed(box), batch_size=None, num_workers=1)))
        assert there[:, 1:].tolist() == [[1, 0], [2, 1], [3, 2], [4, 3]]
        assert len({here, *there[:, 0].tolist()}) == 2
        assert box(rows(5)).tolist() == [[here, 2, 5]]  # the parent's goes on
        assert eventually(lambda: not alive(int(there[0, 0])))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def script(folder: Path, text: str) -> subprocess.Popen[str]:
    file = folder / "script.py"
    file.write_text(textwrap.dedent(text))
    path = os.pathsep.join([str(SOURCE), str(TESTS)])
    return subprocess.Popen(
        [sys.executable, str(file)], env=os.environ | {"PYTHONPATH": path}, stdout=-1, stderr=-1, text=True
    )


def test_a_script_that_starts_workers_needs_a_guard(tmp_path: Path) -> None:
    text = """
        import torch, hardgrad as hg
        def program(row):
            return row * 3
        print(hg.BlackBox(program, workers=1)(torch.ones(1, 2)))
        """
    _, err = script(tmp_path, text).communicate()
    assert "BlackBox(program): a worker could not make the program" in err
    assert "under if __name__ == '__main__':" in err


# The program is the script's own, and what it imports is guarded too, so that a worker starts at once.
_SCRIPT = """
    import os, time
    def program(row):
        time.sleep(float(row[0]))
        return os.getpid()
    if __name__ == "__main__":
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
        import torch, hardgrad as hg
        box, other = (hg.BlackBox(program, workers=n) for n in (2, 1))
        print(*box(torch.full((6, 1), 0.1)).int().tolist(), flush=True)
        """


@pytest.mark.parametrize(
    ("end", "signals"),
    [
        ("pass", []),
        ("other(torch.full((1, 1), 100.0))", [signal.SIGKILL]),
        ("other(torch.full((1, 1), 100.0))", [signal.SIGINT]),
    ],
    ids=["end", "killed at work", "Ctrl-C at work"],
)
def test_workers_end_with_the_process_however_it_ends(tmp_path: Path, end: str, signals: list[int]) -> None:
    program = script(tmp_path, _SCRIPT + end)
    assert program.stdout is not None
    workers = list({int(process) for process in program.stdout.readline().split()})
    assert len(workers) == 2
    if signals:
        assert eventually(lambda: len(children(program.pid)) == 3)
        workers = children(program.pid)
        time.sleep(0.2)  # until the third is at work
        program.send_signal(signals[0])
    _, err = program.communicate()
    assert ("KeyboardInterrupt" in err) == (signals == [signal.SIGINT])
    assert eventually(lambda: not any(alive(worker) for worker in workers))


def children(parent: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if int(line.split()[1]) == parent]
