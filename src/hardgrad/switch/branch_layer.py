"""What every layer of one branch a range is made of: a condition, the branches, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from hardgrad.switch import surgery
from hardgrad.switch.branches.bank.bank import Bank
from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.branches.marks import Marks
from hardgrad.switch.branches.normalize import Normalize
from hardgrad.switch.conditions.condition import Router
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.keys import refuse_learning
from hardgrad.switch.learning.gradient import with_surrogate_gradient
from hardgrad.switch.rows import Routed, routed
from hardgrad.switch.shards import refuse_shards


class BranchLayer(nn.Module):
    """A condition and one branch a range; a layer made of them defines ``forward``.

    Args:
        ranges: the condition.
        branches: one a range.
        key: where the key comes from if it is not given: a function of x, or the number of a column of x.
        normalize: columns of x that are mapped so that the row's range becomes [-1, 1], or True for all.
        bank: whether the branches run together.

    Attributes:
        ranges: the condition, with its counters of visits.
        branches: ``nn.ModuleList``; ``branch(i)`` is one of them, an ordinary module with its own ``state_dict()``.
    """

    def __init__(
        self,
        ranges: Router,
        branches: list[nn.Module],
        *,
        key: Callable[[Tensor], Tensor] | int | None = None,
        normalize: bool | Sequence[int] = False,
        bank: bool = False,
    ) -> None:
        super().__init__()
        self.ranges = ranges
        self.branches = nn.ModuleList(branches)
        self.key = key
        self._learns = ranges.learns()
        none = normalize is False or (isinstance(normalize, Sequence) and not len(normalize))
        self.normalise = None if none else Normalize(ranges, normalize)  # its name in a saved state
        self.bank = bank
        self._branches_changed()
        self._bank = Bank()
        if bank:
            self._bank.structure(self.branches)  # and its complaints

    def branch(self, i: int) -> nn.Module:
        """Return range i as an ordinary module; its parameters are that range's, not copies."""
        return self.branches[i]

    def bundle(self) -> Branches:
        """Return the branches with their scales, bank and marks: what rows run through."""
        return Branches(self.branches, self.normalise, bank=self._bank if self.bank else None, marks=self._marks)

    def scaled(self, rows: Tensor, index: Tensor) -> Tensor:
        """Return rows (M, ...) as the branches with these numbers (M,) get them."""
        return self.bundle().scaled(rows, index)

    def routed(self, x: Tensor, key: Tensor | None = None) -> Routed:
        """Return the M rows of x (M, ...), their keys, their branches int64 (M,) and the leading shape; runs nothing.

        Raises:
            ValueError: as the layer itself, for a key that is missing or does not match x.
        """
        return routed("Switch", self.ranges, self.key, x, key)

    def through_branches(self, x: Tensor, key: Tensor | None) -> Tensor:
        """Return what the branches make of x, with the surrogate gradient of the points if they learn."""
        refuse_shards(self)
        rows, key, index, shape = self.routed(x, key)
        branches = self.bundle()
        y = branches.run(rows, index, self.ranges, key)
        if self._learns and self.training and torch.is_grad_enabled():
            if isinstance(self.ranges, LearnedRanges):
                y = with_surrogate_gradient(branches, self.ranges, rows, key, index, y)
            else:
                refuse_learning(self, self.ranges)  # such as a Grid of learned ranges, which no gradient would reach
        return y.unflatten(0, shape) if len(shape) > 1 else y

    def split(self, i: int, at: float, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Split range i in two at a point; both halves go on from its weights and its optimizer state.

        Right after it the layer computes what it did before: both halves also keep the scale that ``normalize`` maps
        their rows with. Visits are halved, since how they fell is not known. Needs ``Ranges`` or ``LearnedRanges``.

        Args:
            i: the range.
            at: the new point, inside the range.
            optimizer: that trains the layer: the new branch joins the group of the old, with a copy of its momenta and
                step counts. None: build an optimizer anew.

        Raises:
            ValueError: for other conditions, a range that is not there, a point outside it, or an optimizer that does
                not train the branch. Nothing is changed then.

        Example:
            >>> import torch, hardgrad as hg
            >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
            >>> optimizer = torch.optim.Adam(switch.parameters())
            >>> switch.split(1, at=1.5, optimizer=optimizer)
            >>> switch.ranges.points, len(optimizer.param_groups[0]["params"])
            ((0.0, 1.0, 1.5, 2.0), 6)
            >>> bool(switch.branch(1).weight == switch.branch(2).weight)
            True
        """
        surgery.split(self.bundle(), self.ranges, i, at, optimizer)
        self._branches_changed()

    def merge(
        self,
        i: int,
        j: int,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        keep: Literal["most_visited", "i", "j", "mean"] = "most_visited",
    ) -> None:
        """Join two ranges side by side into one. Needs ``Ranges`` or ``LearnedRanges``.

        Args:
            i: a range.
            j: the range before or after it.
            optimizer: that trains the layer: the branch given up leaves it. None: build an optimizer anew.
            keep: whose weights, optimizer state and scale the joined range gets: "i", "j", "most_visited" of the two,
                or "mean", the average of both. An average makes sense of branches that were one not long ago; that of
                two networks trained apart computes neither.

        Raises:
            ValueError: for other conditions, ranges that are not side by side, an unknown ``keep``, a mean of branches
                of different architectures, or an optimizer that does not train them. Nothing is changed then.

        Example:
            >>> import torch, hardgrad as hg
            >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
            >>> weight = switch.branch(1).weight.item()
            >>> switch.merge(0, 1, keep="j")
            >>> switch.ranges.points, switch.branch(0).weight.item() == weight
            ((0.0, 2.0), True)
        """
        surgery.merge(self.bundle(), self.ranges, i, j, optimizer, keep)
        self._branches_changed()

    def warm_start(self, model: nn.Module) -> None:
        """Copy a trained model's weights into every branch: train one shared network first, then let each range part.

        Args:
            model: of the branches' architecture, trained on the same inputs; it is not changed.

        Raises:
            ValueError: for a layer with ``normalize``, since the model knows no other scale than its own, or a branch
                whose weights differ in name or shape; the message has the first that does. Nothing is changed then.

        Example:
            >>> import torch, hardgrad as hg
            >>> model = torch.nn.Linear(1, 1)
            >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
            >>> switch.warm_start(model)
            >>> all(bool(branch.weight == model.weight) for branch in switch.branches)
            True
        """
        surgery.warm_start(self.bundle(), model)

    def drop_unvisited_grads(self) -> None:
        """Set ``grad`` to None in the branches that none of the rows went through that gradients came from.

        Eager code needs this never. A compiled graph runs every branch on its rows, maybe none, and gives an unvisited
        one a gradient of zeros, with which momentum and weight decay still move it: call this before ``step()``. What
        counts are the backwards that led to the gradients held now, through however many forwards; neither validation
        nor ``ranges.visits`` do. A gradient that ``backward()`` did not put there, such as one assigned, stays.
        """
        self._marks.drop()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._branches_changed()
        return self

    def _branches_changed(self) -> None:
        self._marks = Marks(self.branches, self.ranges.visits.device)
