"""A user's solver: rows of costs in, rows of solutions out, by the same rules in every layer and loss of this room."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import exporting, has_numbers, in_forward_mode, in_transform
from hardgrad.black_box._black_box import BlackBox
from hardgrad.black_box.arrays import given, numbers, rows_of
from hardgrad.black_box.errors import BoxError
from hardgrad.black_box.recent import Recent
from hardgrad.black_box.transforms import called_apart
from hardgrad.user_code import name_of

_looking = threading.Lock()  # at any cache: held for a look, never while somebody solves


class Solver(nn.Module):
    """Costs ``(batch, *row)`` to solutions ``(batch, *out)``, without a gradient.

    The solver gets a copy of its own, in single precision at least, and what it returns is copied and rounded once to
    the cost's dtype.

    Args:
        owner: the public name whose errors these are.
        solver: the user's, of a batch; or of one row.
        rows: whether it is of one row, which it gets on the CPU.
        cache: how many solved rows are kept, by their bytes.
        same: whether a solution must have its cost's shape.
    """

    batched = False  # for called_apart: rows that vmap brings are rows

    def __init__(self, owner: str, solver: Any, rows: bool, cache: int = 0, same: bool = True) -> None:
        super().__init__()
        _check.function(owner, "solver", solver, "cost -> solution")
        self.solver, self.rows, self.same = solver, _check.flag(owner, "rows", rows), same
        self.cache = _check.whole(owner, "cache", cache, least=0)
        if isinstance(solver, BlackBox) and (rows or cache):
            raise ValueError(
                f"{owner}: rows and cache must be left out for a BlackBox, which has its own, got {rows} and {cache}"
            )
        self.__name__ = name_of(solver)
        self.label = f"{owner}({self.__name__})"
        self._recent = Recent(cache)
        self._row_shape: torch.Size | None = None

    def forward(self, cost: Tensor) -> Tensor:
        if exporting():
            return self._traced(cost)
        self._check(cost)
        with torch.no_grad():
            apart = in_transform() or in_forward_mode()
            return called_apart(self, (cost.detach(),)) if apart else self._called((cost,))

    def beside(self, points: Tensor) -> Tensor:
        """Return solutions ``(samples, batch, *out)`` of costs ``(samples, batch, *row)``, in one call."""
        samples, rows = points.shape[:2]
        try:
            solved: Tensor = self(points.flatten(0, 1))
        except BoxError as error:
            if error.row is not None and samples > 1:
                error.add_note(f"{self.label}: costs beside the given ones were solved; that is row {error.row % rows}")
            raise
        return solved.reshape(samples, rows, *solved.shape[1:])

    def _traced(self, cost: Tensor) -> Tensor:
        try:
            if self.rows:
                raise TypeError("rows=True")
            return torch.as_tensor(self.solver(cost.clone())).to(cost.dtype)
        except Exception as error:
            raise RuntimeError(
                f"{self.label}: a graph can hold a solver of a batch in torch's own operations alone; export what is "
                f"before and behind this one ({type(error).__name__}: {error})"
            ) from error

    def _check(self, cost: Tensor) -> None:
        _check.floating(self.label, "cost", cost)
        if cost.ndim == 0 or cost.layout is not torch.strided or not has_numbers(cost):
            raise ValueError(
                f"{self.label}: cost must be rows of numbers that a solver can read, the batch first, got shape "
                f"{tuple(cost.shape)}, {cost.layout}, on {cost.device}; one row is cost.unsqueeze(0)"
            )
        if any(p.requires_grad for p in self.parameters()):
            raise ValueError(
                f"{self.label}: solver has parameters that require gradients and get none here; freeze them with "
                ".requires_grad_(False)"
            )

    def _called(self, inputs: tuple[Tensor, ...]) -> Tensor:
        cost = inputs[0].detach()
        wide = cost.to(torch.promote_types(cost.dtype, torch.float32))
        row = _first_nan(wide)
        if row is not None:
            raise ValueError(f"{self.label}: cost must hold no NaN, got one in row {row}; see what made it, or mask it")
        shape = cost.shape[1:] if self.same else self._row_shape
        if not len(cost) and shape is None and (self.rows or isinstance(self.solver, BlackBox)):
            raise ValueError(f"{self.label}: the first cost must have rows, which show a solution's shape, got none")
        if not len(cost) and shape is not None:
            return cost.new_zeros(0, *shape)
        solution = self._remembered(wide) if self.cache else self._solve(wide, range(len(wide)))
        self._row_shape = solution.shape[1:]
        return solution.to(cost.device, cost.dtype)

    def _remembered(self, cost: Tensor) -> Tensor:
        keys = [self._recent.key(i, row, True) for i, row in enumerate(rows_of([given(cost)]))]
        with _looking:
            done = self._recent.known(keys)
        todo = {key: i for i, key in reversed([*enumerate(keys)]) if key not in done}  # equal rows are solved once
        if todo:
            which = sorted(todo.values())
            # Copies, so that no row keeps its whole batch.
            done |= {keys[i]: y.clone() for i, y in zip(which, self._solve(cost[which], which), strict=True)}
            with _looking:
                for i in which:
                    self._recent.keep(keys[i], done[keys[i]])
        return torch.stack([done[key] for key in keys])

    def _solve(self, cost: Tensor, which: Sequence[int]) -> Tensor:
        """Return the solutions of rows that the user knows by these numbers, held against the rules."""
        if self.rows:
            each = [self._answer(row, [i]) for row, i in zip(cost.cpu(), which, strict=True)]
            for i, one in zip(which, each, strict=True):
                if one.shape != each[0].shape:
                    rule = f"solver must return the shape of the first row, {tuple(each[0].shape)}"
                    raise BoxError.of(self.label, i, f"{rule}, got {tuple(one.shape)}; pad to one length")
            solution = torch.stack(each)
        else:
            solution = self._answer(cost, which)
        want = cost.shape if self.same else cost.shape[:1]
        if solution.shape[: len(want)] != want or (self.same and solution.ndim != len(want)):
            rule = "the cost's shape" if self.same else "a row for each row of the cost"
            what = f"solver must return {rule}, {tuple(cost.shape)}, got {tuple(solution.shape)}"
            cure = "rows=True hands it one row at a time, and hardgrad.perturbed takes rows of another shape"
            raise BoxError.of(self.label, None, f"{what}; {cure}")
        row = _first_nan(solution)
        if row is not None:
            raise BoxError.of(self.label, which[row], "solver returned NaN; return a feasible solution, or raise")
        return solution

    def _answer(self, cost: Tensor, which: Sequence[int]) -> Tensor:
        try:
            value = self.solver(cost.clone(memory_format=torch.contiguous_format))
        except BoxError:  # which names its row
            raise
        except Exception as error:
            row = which[0] if self.rows else self._first_that_fails(cost, which)
            raise BoxError.of(self.label, row, f"solver raised {type(error).__name__}: {error}") from error
        try:
            answer = value if isinstance(value, Tensor) else torch.from_numpy(numbers(value, True))
        except ValueError:
            answer = None
        if answer is None or answer.is_complex():
            what = f"solver must return a tensor or an array of real numbers, got {type(value).__name__}"
            cure = "where a problem has no solution, raise, or return what to fall back on"
            raise BoxError.of(self.label, which[0] if self.rows else None, f"{what}; {cure}")
        return answer.detach().to(cost.dtype, copy=True)

    def _first_that_fails(self, cost: Tensor, which: Sequence[int]) -> int | None:
        """Ask a solver of batches for one row at a time, to name the one that it raises for."""
        for i, number in enumerate(which):
            try:
                self.solver(cost[i : i + 1].clone())
            except Exception:
                return number
        return None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recent": Recent(self.cache)}


def _first_nan(x: Tensor) -> int | None:
    """Return the first row that holds NaN, where a look waits for no device."""
    if x.device.type != "cpu" or not bool(x.isnan().any()):
        return None
    return int(x.reshape(len(x), -1).isnan().any(1).nonzero()[0])
