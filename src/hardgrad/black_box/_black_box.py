"""Any program as a layer: NumPy in, NumPy out, and no gradient without a word."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import in_forward_mode, in_graph, in_transform
from hardgrad._tracing import eagerly
from hardgrad.black_box.arguments import check_inputs, check_program, checked_bounds, checked_timeout, checked_workers
from hardgrad.black_box.arrays import given, numbers, numpy, rows_of, stacked
from hardgrad.black_box.errors import BoxError
from hardgrad.black_box.job import Job, run_here
from hardgrad.black_box.recent import Recent
from hardgrad.black_box.transforms import called_apart
from hardgrad.black_box.workers import Workers
from hardgrad.user_code import name_of


class _Live:
    """What a box has in this process alone: not copied, not saved, and made anew in a process that was forked."""

    def __init__(self, cache: int, before: _Live | None = None) -> None:
        self.process, self.before = os.getpid(), before  # the workers of before are the parent's to end
        self.lock = threading.RLock()
        self.recent = Recent(cache)
        self.program: Callable[..., Any] | None = None
        self.workers: Workers | None = None


class BlackBox(nn.Module):
    r"""Any program as a layer: NumPy in, NumPy out, row by row or a batch at once.

    .. math:: y_b = \text{fn}(x_b)

    A program has no gradient, so the box alone refuses an input that needs one, in ``train()`` and ``eval()`` alike,
    and names the layers that lend one: ``straight_through``, ``perturb``, ``Bridge``, and ``score_function`` for an
    expectation. In these, and under ``no_grad``, it gives values. It has no weights and no entries in a ``state_dict``.
    Under ``torch.compile`` the graph breaks here; export is refused; rows that ``vmap`` brings are rows.

    The first dimension of every input is the batch, and nothing is broadcast. The program gets arrays of its own, in C
    order, that it may write into and keep: float64 as it is, other floating dtypes as float32, integers and bools as
    they are. What it returns is copied, so it may use a buffer again: numbers of any kind, in one shape for all rows.
    The result is rounded once to the dtype of the first floating input, the default dtype if there is none, on its
    device. NaN is passed on, in and out. A batch of no rows runs nothing and has the last result's shape.

    With workers, ``fn`` or ``factory`` is sent to each, once, when there are rows for it: what changes in ``fn`` later
    stays here. A row whose worker dies runs again on a fresh one, at most three times in all, and a warning names it.
    After a failure no further row is begun, those that run are waited for, and ``BoxError.results`` has what was done.
    Workers end with the box, with ``close()``, after a ``with`` block, and with this process however it ends. One call
    runs at a time: another thread waits. In a process that was forked the box begins anew, with workers of its own.

    Args:
        fn: the program, from one row of each input to an array or a number. What it prints is left alone.
        out: makes an array or a number of what ``fn`` returns, where that is something else; runs in the worker.
        batched: hand over the whole batch as one call; ``fn`` returns a first dimension of as many rows.
        workers: how many processes run rows; 0 runs them here. At most 1 with ``batched``.
        factory: in place of ``fn``, a function that makes it: once in each worker, or here at the first call. For
            programs that cannot be pickled, or must not be shared. With workers, a function of a module.
        timeout: seconds that a call of the program may take in a worker, which is ended then.
        cache: how many results are kept, by the bytes of what the program got; a batch is one if ``batched``. Not for a
            program that is random or remembers: it would be asked once.
        low: the least value of each number of a row, a float or what broadcasts with a row; for several inputs a tuple
            of these. ``perturb`` and ``doctor.examine`` keep to it; the box itself looks at no value.
        high: the largest, likewise.

    Attributes:
        calls: how many rows the program was given; a row that ran again is counted once.
        hits: how many rows were answered without it: from the cache, or, with one, as one of several equal rows.
        low, high: the bounds in float64, or None.

    Raises:
        ImportError: from the constructor, where NumPy is not installed: torch runs without it.
        BoxError: if the program raises, dies, takes too long, or returns what is no array of its row's shape.
        RuntimeError: if an input needs a gradient while those are recorded.
        ValueError: for arguments or inputs that break a rule above.

    Example:
        >>> import numpy, torch, hardgrad as hg
        >>> box = hg.BlackBox(lambda row: numpy.sort(row)[:2])
        >>> x = torch.tensor([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]])
        >>> box(x).tolist()
        [[1.0, 2.0], [4.0, 5.0]]
        >>> box.calls
        2

        A program of its own, which reads numbers and writes their doubles, with a gradient that is copied:

        >>> import subprocess, sys
        >>> code = "import sys, array; n = array.array('f', sys.stdin.buffer.read()); " + (
        ...     "sys.stdout.buffer.write(array.array('f', [2 * v for v in n]).tobytes())")
        >>> def program(row):
        ...     command = [sys.executable, "-c", code]
        ...     done = subprocess.run(command, input=row.tobytes(), stdout=subprocess.PIPE, check=True)
        ...     return numpy.frombuffer(done.stdout, numpy.float32)
        >>> layer = hg.straight_through(hg.BlackBox(program))
        >>> layer(torch.tensor([[1.0, 2.5]], requires_grad=True)).tolist()
        [[2.0, 5.0]]
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        out: Callable[[Any], Any] | None = None,
        batched: bool = False,
        workers: int = 0,
        factory: Callable[[], Callable[..., Any]] | None = None,
        timeout: float | None = None,
        cache: int = 0,
        low: Any = None,
        high: Any = None,
    ) -> None:
        super().__init__()
        numpy()  # said here, not at the first batch
        check_program(fn, factory, out)
        self._program = (fn, factory, out)
        self._name = f"BlackBox({name_of(fn or factory)})"
        self.batched = _check.flag("BlackBox", "batched", batched)
        self.workers = checked_workers(workers, self.batched)
        self.timeout = checked_timeout(timeout, self.workers)
        self.cache = _check.whole("BlackBox", "cache", cache, least=0)
        self.low, self.high = checked_bounds(low, high)
        self.calls = self.hits = 0
        self._row_shape: torch.Size | None = None
        self._live: _Live | None = _Live(self.cache)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        if not in_graph():
            return self._checked((x, *more))
        reason = f"{self._name}: a graph cannot hold a program; compile or export what is before and behind it"
        result: Tensor = eagerly(reason, self._checked, (x, *more))
        return result

    def _checked(self, inputs: tuple[Tensor, ...]) -> Tensor:
        check_inputs(self._name, inputs)
        if in_transform() or in_forward_mode():
            return called_apart(self, inputs)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            raise RuntimeError(self._refusal())
        return self._called(inputs)

    def _called(self, inputs: tuple[Tensor, ...]) -> Tensor:
        like = next((x for x in inputs if x.is_floating_point()), inputs[0])
        dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        if len(inputs[0]):
            result = torch.from_numpy(self._results([given(x) for x in inputs], dtype == torch.float64))
            vars(self)["_row_shape"] = result.shape[1:]  # Module's own way to set a number takes 5 us
        elif self._row_shape is None:
            raise ValueError(
                f"{self._name}: the first batch must have rows, which show the shape of a result, got none; call it "
                "on a row before"
            )
        else:
            result = torch.zeros(0, *self._row_shape)
        return result.to(like.device, dtype)

    def _results(self, arrays: list[Any], double: bool) -> Any:
        """Return the results of a batch: those that are known, and those that the program is run for."""
        tasks = [tuple(arrays)] if self.batched else rows_of(arrays)
        size = len(arrays[0]) if self.batched else 1
        live = self._alive()
        with live.lock:
            keys = [live.recent.key(i, row, double) for i, row in enumerate(tasks)]
            done = live.recent.known(keys)
            todo = {key: i for i, key in reversed([*enumerate(keys)]) if key not in done}  # equal rows run once

            def take(i: int, value: Any) -> None:
                done[keys[i]] = self._taken(i, value, double, size)
                live.recent.keep(keys[i], done[keys[i]])

            job = Job({i: tasks[i] for i in sorted(todo.values())}, take, self._failed)
            try:
                self._run(job, live)
                results = [done[key] for key in keys]
                if self.batched:
                    return results[0].copy() if self.cache else results[0]  # the cache keeps its own
                return self._stacked(results)
            except BoxError as error:
                error.results = {i: done[key] for i, key in enumerate(keys) if key in done}
                raise
            finally:
                vars(self)["calls"] += size * len(job.begun)
                vars(self)["hits"] += size * (len(tasks) - len(todo))

    def _run(self, job: Job, live: _Live) -> None:
        if self.workers and job.tasks:
            live.workers = live.workers or Workers(self.workers, self._program, self.timeout, self._name)
            return live.workers.run(job)
        if live.program is None:
            live.program = self._made()
        return run_here(live.program, self._program[2], job)

    def _made(self) -> Callable[..., Any]:
        fn, factory, _ = self._program
        try:
            program: Any = fn if factory is None else factory()
        except Exception as error:
            raise BoxError(f"{self._name}: factory raised {type(error).__name__}: {error}") from error
        _check.function(self._name, "what factory returns", program, "of arrays")
        return cast(Callable[..., Any], program)

    def _taken(self, i: int, value: Any, double: bool, size: int) -> Any:
        """Return what the program gave for a row as an array, held against its rules."""
        try:
            array = numbers(value, double)
        except ValueError as error:
            raise self._failed(i, f"{self._last} {error}") from None
        if self.batched and array.shape[:1] != (size,):
            raise self._failed(
                i,
                f"{self._last} must return one result for each of {size} rows, got shape {array.shape}; keep the "
                "first dimension, or set batched=False",
            )
        return array

    def _stacked(self, results: list[Any]) -> Any:
        for i, result in enumerate(results):
            if result.shape != results[0].shape:
                raise self._failed(
                    i,
                    f"{self._last} must return the shape of row 0, {results[0].shape}, got {result.shape}; pad or "
                    "cut it, with out= say",
                )
        return stacked(results)

    def _failed(self, i: int, what: str) -> BoxError:
        return BoxError.of(self._name, None if self.batched else i, what)

    def _refusal(self) -> str:
        return (
            f"{self._name}: the input requires gradients, and a program passes none on; lend one with "
            "hardgrad.straight_through(box), hardgrad.perturb(box, scale), hardgrad.Bridge(box, approximator) or "
            "hardgrad.score_function(q, box), or for a metric give x.detach() or call it under torch.no_grad()"
        )

    def _alive(self) -> _Live:
        if self._live is None or self._live.process != os.getpid():
            self._live = _Live(self.cache, self._live)
        return self._live

    def close(self) -> None:
        """End the workers, and let go of what ``factory`` made; a later call starts anew."""
        live = self._alive()
        with live.lock:
            if live.workers is not None:
                live.workers.close()
            live.workers = live.program = None

    def __enter__(self) -> BlackBox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_live": None}

    @property
    def _last(self) -> str:
        """Whose result it is that must be an array."""
        fn, _, out = self._program
        return "out" if out is not None else "fn" if fn is not None else "the program"

    def extra_repr(self) -> str:
        return f"{self._name[9:-1]}, batched={self.batched}, workers={self.workers}"
