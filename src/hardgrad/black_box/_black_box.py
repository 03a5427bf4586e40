"""Any program as a layer: NumPy in, NumPy out, and no gradient without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import in_graph
from hardgrad._tracing import eagerly
from hardgrad.black_box.arrays import Row, as_array, given, rows_of, stacked
from hardgrad.user_code import name_of


class BoxError(RuntimeError):
    """A program in a ``BlackBox`` failed; ``row`` is where in the batch, None if it got the batch as a whole."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class BlackBox(nn.Module):
    """Any program as a layer.

    Args:
        fn: the program.
        out: makes an array of what the program returns.
        batched: hand over the whole batch at once.
        workers: how many processes run the rows.
        factory: makes the program.
        timeout: seconds a row.
        cache: how many results are kept.
        low: the least value of each input.
        high: the largest.

    Example:
        >>> import numpy, torch, hardgrad as hg
        >>> box = hg.BlackBox(lambda row: numpy.sort(row)[:2])
        >>> box(torch.tensor([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]])).tolist()
        [[1.0, 2.0], [4.0, 5.0]]
        >>> box.calls
        2
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
        if (fn is None) == (factory is None):
            raise ValueError("BlackBox: give either fn, the program, or factory, a function that makes it")
        self._program = (fn, factory, out)
        self.batched = _check.flag("BlackBox", "batched", batched)
        self.workers = _check.whole("BlackBox", "workers", workers, least=0)
        self.cache = _check.whole("BlackBox", "cache", cache, least=0)
        self.timeout = timeout
        self.low, self.high = _bounds("low", low), _bounds("high", high)
        self.calls = 0
        self._made: Any = None
        self._shape: tuple[int, ...] | None = None

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        if in_graph():
            reason = f"{self._label()}: a graph cannot hold a program; export what lies before and behind it"
            return eagerly(reason, self._checked, (x, *more))
        return self._checked((x, *more))

    def _checked(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for i, x in enumerate(inputs):
            self._check_input(i, x, inputs[0])
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            raise RuntimeError(self._refusal())
        return self._called(inputs)

    def _check_input(self, i: int, x: object, first: Tensor) -> None:
        name = f"input {i + 1}" if i else "x"
        tensor = _check.tensor(self._label(), name, x)
        if tensor.ndim == 0:
            raise ValueError(f"{self._label()}: {name} must have rows, got shape (); give {name}.unsqueeze(0)")
        if tensor.shape[0] != first.shape[0]:
            raise ValueError(
                f"{self._label()}: {name} must have as many rows as x, {first.shape[0]}, got shape "
                f"{tuple(tensor.shape)}; expand it to them"
            )

    def _called(self, inputs: tuple[Tensor, ...]) -> Tensor:
        like = next((x for x in inputs if x.is_floating_point()), None)
        dtype = torch.get_default_dtype() if like is None else like.dtype
        device = inputs[0].device if like is None else like.device
        arrays = [given(x) for x in inputs]
        result = torch.from_numpy(self._numbers(arrays, dtype == torch.float64))
        return result.to(device, dtype)

    def _numbers(self, arrays: list[Any], double: bool) -> Any:
        rows = len(arrays[0])
        self.calls += rows
        if self.batched:
            value = as_array(self._run(tuple(arrays), None)).astype("f8" if double else "f4")
            if value.shape[:1] != (rows,):
                raise ValueError(f"{self._label()}: must return {rows} rows, got shape {value.shape}")
            return value
        return stacked([as_array(self._run(row, i)) for i, row in enumerate(rows_of(arrays))], double)

    def _run(self, row: Row, i: int | None) -> Any:
        fn, factory, out = self._program
        if self._made is None:
            self._made = fn if factory is None else factory()
        try:
            value = self._made(*row)
            return value if out is None else out(value)
        except Exception as error:
            where = "the batch" if i is None else f"row {i}"
            raise BoxError(
                f"{self._label()}: the program failed on {where}: {type(error).__name__}: {error}", i
            ) from error

    def _refusal(self) -> str:
        return (
            f"{self._label()}: the input requires gradients, and a program passes none on; lend one with "
            "hardgrad.straight_through(box), hardgrad.perturb(box, scale), hardgrad.Bridge(box, approximator) or "
            "hardgrad.score_function(q, box), or for a metric give x.detach() or call it under torch.no_grad()"
        )

    def close(self) -> None:
        """End the workers; a later call starts new ones."""

    def __enter__(self) -> BlackBox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _label(self) -> str:
        fn, factory, _ = self._program
        return f"BlackBox({name_of(fn or factory)})"

    def extra_repr(self) -> str:
        return self._label()[9:-1]


def _bounds(name: str, value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return None if value is None else tuple(_bounds(name, each) for each in value)
    return torch.as_tensor(value, dtype=torch.float64)
