"""The hard IF: one set of parameters for each range, and only the taken one runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.banks.bank import Bank
from hardgrad.switch.branches import one_a_range
from hardgrad.switch.keys import column
from hardgrad.switch.normalise import Normalise
from hardgrad.switch.routers.router import Router, one_of
from hardgrad.switch.thresholds.learnt import LearntRanges
from hardgrad.switch.thresholds.lend import lend
from hardgrad.switch.training import surgery
from hardgrad.switch.ways import run


class Switch(nn.Module):
    r"""Run each row of a batch through the branch that its key leads to.

    .. math:: y_b = f_{r(k_b)}(x_b; \theta_{r(k_b)})

    Rows are routed, not outputs: a branch sees its own rows alone, and one that no row took does not run and gets no
    gradient (``grad is None``), so no stock optimiser moves it: not by momentum, not by Adam, not by weight decay.
    Training on mixed batches is therefore training N separate models, each with its own optimiser state and step count.

    Args:
        ranges: the condition: ``Ranges``, or a ``Grid`` or ``If`` of several keys.
        branches: one module, cloned for each range, or one module for each range, of any architectures that return one
            output shape.
        key: where the key comes from if ``forward`` is not given one: a function of x, or the number of a column of
            x's last dimension. None: ``forward`` must be given it.
        init: of one module cloned: "independent" draws new initial weights for every range (through
            ``reset_parameters``), "identical" copies the module's.
        normalise: columns of x's last dimension that are mapped so that the row's range becomes [-1, 1], or True for
            all. Use it where a column is both key and input: on a narrow range far from zero the ReLUs of a branch die
            without it. Needs ``Ranges`` with finite points.
        bank: run all branches in few kernels: for many branches that are equal stacks of ``Linear`` and elementwise
            layers. Meaning, parameters, ``grad`` and optimisers are those of ``bank=False``, but for second derivatives
            and batched gradients (``create_graph=True``, ``is_grads_batched=True``), which need ``bank=False``. Where
            a branch has hooks, a forward of its own or parametrized weights, the branches run one by one.

    Shape:
        x: (B, ...), or (B, T, ...) for a key per time step. key: x's leading dimensions, so (B,) or (B, T); with a
        ``Grid`` or ``If`` a last dimension more, the keys. Returns the key's leading dimensions followed by what a
        branch returns for one row.

    Attributes:
        ranges: the condition, with its counters of visits.
        branches: ``nn.ModuleList``; ``branch(i)`` is one of them, an ordinary module with its own ``state_dict()``.

    Raises:
        ValueError: for branches that are not one a range, a key that does not match x, a missing key, or branches that
            return different shapes.

    Example:
        >>> import torch, hardgrad as hg
        >>> _ = torch.manual_seed(0)
        >>> switch = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), torch.nn.Linear(3, 1))
        >>> y = switch(torch.randn(5, 3), key=torch.tensor([-0.5, -0.2, -0.9, -0.1, -0.3]))
        >>> y.sum().backward()
        >>> switch.branch(0).weight.grad is None, switch.branch(1).weight.grad is None
        (False, True)

    Source: Clarke 2025, LACTOSE, algorithm 1; batches and different architectures are its section 3's future work.
    """

    def __init__(
        self,
        ranges: Router,
        branches: nn.Module | Sequence[nn.Module],
        *,
        key: Callable[[Tensor], Tensor] | int | None = None,
        init: Literal["independent", "identical"] = "independent",
        normalise: bool | Sequence[int] = False,
        bank: bool = False,
    ) -> None:
        super().__init__()
        one_of("Switch", "init", init, ("independent", "identical"))
        self.ranges = ranges
        self.branches = nn.ModuleList(one_a_range(ranges, branches, init))
        self.key = key
        self.normalise = Normalise(ranges, normalise) if normalise else None
        self.bank = bank
        self._visits_seen: list[int] = []
        self._bank = Bank(list(self.branches)) if bank else None

    def branch(self, i: int) -> nn.Module:
        """Return range i as an ordinary module; its parameters are that range's, not copies."""
        return self.branches[i]

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        rows, key, index, shape = self.routed(x, key)
        own = rows if self.normalise is None else self.normalise(rows, index)
        y = run(self.branches, own, index, self.ranges, self._stacked())
        if isinstance(self.ranges, LearntRanges) and self.training and torch.is_grad_enabled():
            y = lend(self, rows, key, index, y)
        return y.unflatten(0, shape) if len(shape) > 1 else y

    def routed(self, x: Tensor, key: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, torch.Size]:
        """Return the M rows of x (M, ...), their keys, their branches int64 (M,) and the leading shape; runs nothing.

        Raises:
            ValueError: as the switch itself, for a key that is missing or does not match x.
        """
        key = column(self.key, x, "Switch") if key is None else key
        shape = key.shape if self.ranges.keys == 0 else key.shape[:-1]
        if not shape or x.shape[: len(shape)] != shape:
            what = "x's leading dimensions" + (" and a last one of the keys" if self.ranges.keys else "")
            raise ValueError(
                f"Switch: key must have {what}, got key {tuple(key.shape)} and x {tuple(x.shape)}; "
                "give one key a row, shape (B,), or one a time step, shape (B, T)"
            )
        index = self.ranges.index(key).reshape(-1)
        return x.flatten(0, len(shape) - 1), key.flatten(0, len(shape) - 1), index, shape

    def split(self, i: int, at: float, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Split range i in two, both with its weights and its optimiser state; see ``training/surgery.py``."""
        surgery.split(self, i, at, optimizer)

    def merge(
        self,
        i: int,
        j: int,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        keep: Literal["most_visited", "i", "j", "mean"] = "most_visited",
    ) -> None:
        """Join two ranges side by side into one; see ``training/surgery.py``."""
        surgery.merge(self, i, j, optimizer, keep)

    def warm_start(self, model: nn.Module) -> None:
        """Copy a trained model's weights into every branch; see ``training/surgery.py``."""
        surgery.warm_start(self, model)

    def drop_unvisited_grads(self) -> None:
        """Set ``grad`` to None in the branches that no row visited since this was last called.

        Eager code needs this never. A compiled graph runs every branch on its rows, maybe none, and gives an unvisited
        one a gradient of zeros, with which momentum and weight decay still move it: call this before ``step()``.
        """
        visits = self.ranges.visits.tolist()
        seen = self._visits_seen if len(self._visits_seen) == len(visits) else [0] * len(visits)
        for branch, now, before in zip(self.branches, visits, seen, strict=True):
            if now == before:
                branch.zero_grad(set_to_none=True)
        self._visits_seen = visits

    def _stacked(self) -> Bank | None:
        if not self.bank or in_graph():
            return None
        if self._bank is None or self._bank.branches != list(self.branches):
            self._bank = Bank(list(self.branches))
        return self._bank
