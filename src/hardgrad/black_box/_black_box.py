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
from hardgrad.black_box.arrays import given, numbers, rows_of, stacked
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
    """Any program as a layer."""

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
        check_program(fn, factory, out)
        self._program = (fn, factory, out)
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
        reason = f"{self._label()}: a graph cannot hold a program; compile or export what is before and behind it"
        result: Tensor = eagerly(reason, self._checked, (x, *more))
        return result

    def _checked(self, inputs: tuple[Tensor, ...]) -> Tensor:
        check_inputs(self._label(), inputs)
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
            self._row_shape = result.shape[1:]
        elif self._row_shape is None:
            raise ValueError(
                f"{self._label()}: the first batch must have rows, which show the shape of a result, got none; call it "
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
                return results[0] if self.batched else self._stacked(results)
            except BoxError as error:
                error.results = {i: done[key] for i, key in enumerate(keys) if key in done}
                raise
            finally:
                self.calls += size * len(job.begun)
                self.hits += size * (len(tasks) - len(todo))

    def _run(self, job: Job, live: _Live) -> None:
        if self.workers and job.tasks:
            live.workers = live.workers or Workers(self.workers, self._program, self.timeout, self._label())
            return live.workers.run(job)
        if live.program is None:
            live.program = self._made()
        return run_here(live.program, self._program[2], job)

    def _made(self) -> Callable[..., Any]:
        fn, factory, _ = self._program
        try:
            program: Any = fn if factory is None else factory()
        except Exception as error:
            raise BoxError(f"{self._label()}: factory raised {type(error).__name__}: {error}") from error
        _check.function(self._label(), "what factory returns", program, "of arrays")
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
        return BoxError.of(self._label(), None if self.batched else i, what)

    def _refusal(self) -> str:
        return (
            f"{self._label()}: the input requires gradients, and a program passes none on; lend one with "
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

    def _label(self) -> str:
        return f"BlackBox({name_of(self._program[0] or self._program[1])})"

    def extra_repr(self) -> str:
        return f"{name_of(self._program[0] or self._program[1])}, batched={self.batched}, workers={self.workers}"
