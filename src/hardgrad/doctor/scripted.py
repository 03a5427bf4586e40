"""Random numbers by a script: one copy of a batch meets the same ones, whatever other copies stand beside it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_NONE: frozenset[int] = frozenset()
_FAR = 1_000_003  # from the seeds of the script; the generator of the CPU looks at 32 bits of a seed


class NotScriptedError(RuntimeError):
    """A random number that cannot be told whose it is."""


class Scripted(TorchDispatchMode):
    """Answer the k-th random operation with numbers that follow from k alone, for one copy of a batch among others.

    What an operation draws for that copy it draws by itself, from a seed of its own, at the shape that the copy alone
    would have; the other copies get other numbers. So a run of the copy alone and one among others can be compared
    number by number. Which part of a tensor is the copy's is told by its sizes: a dimension of copies times rows, or
    one of copies before one of rows, either with samples in front. What has neither is shared by all copies.

    Args:
        seed: of the numbers.
        device: whose random state is seeded beside the CPU's; the caller has put both aside.
        rows: of the batch.
        copies: how many of the batch are stacked.
        copy: which of them.
        others: numbers of operations that draw something else than the script says.

    Raises:
        NotScriptedError: at a random operation of an unknown form.
    """

    def __init__(
        self, seed: int, device: torch.device, rows: int, copies: int = 1, copy: int = 0, others: frozenset[int] = _NONE
    ) -> None:
        mode: Any = super()  # torch gives it no types
        mode.__init__()
        self.seed, self.rows, self.copies, self.copy_ = seed, rows, copies, copy
        self.device, self.others = device, others
        self.number = 0
        self.shared: set[int] = set()
        self.failed = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        self.number += 1
        _seed_all(self.seed + self.number + (_FAR if self.number in self.others else 0), self.device)
        if self.copies == 1:
            return func(*args, **_without_generator(kwargs))
        own = [self._own(name, value) for name, value in zip(_names(func), args, strict=False)]
        own_kwargs = {name: self._own(name, value) for name, value in _without_generator(kwargs).items()}
        part = func(*own, **own_kwargs)
        whole = func(*args, **kwargs)
        self._put(whole, part)
        return whole

    def _own(self, name: str, value: Any) -> Any:
        """What an argument is for the copy alone."""
        if isinstance(value, Tensor):
            cut = self._cut(tuple(value.shape))
            return value.clone() if cut is None else value.index_select(cut, self._places(value, cut))
        if name == "size":
            cut = self._cut(tuple(value))
            return [size // self.copies if place == cut else size for place, size in enumerate(value)]
        return value

    def _put(self, whole: Any, part: Any) -> None:
        pairs = [(whole, part)] if isinstance(whole, Tensor) else zip(whole, part, strict=True)
        for all_of_it, own in pairs:
            if not isinstance(all_of_it, Tensor):
                continue
            cut = self._cut(tuple(all_of_it.shape))
            if cut is None and own.shape == all_of_it.shape:
                self.shared.add(self.number)
                all_of_it.copy_(own)
                continue
            if cut is None or own.shape[cut] * self.copies != all_of_it.shape[cut]:
                self.failed = True
                raise NotScriptedError("random numbers of an unknown form")
            all_of_it.index_copy_(cut, self._places(all_of_it, cut), own)

    def _cut(self, shape: tuple[int, ...]) -> int | None:
        """Which dimension holds the copies."""
        for place, size in enumerate(shape):
            if size and size % (self.copies * self.rows) == 0:
                return place
        for place, (size, following) in enumerate(pairwise(shape)):
            if size and size % self.copies == 0 and following == self.rows:
                return place
        return None

    def _places(self, tensor: Tensor, cut: int) -> Tensor:
        size = tensor.shape[cut]
        rows = self.rows if size % (self.copies * self.rows) == 0 else 1
        return torch.arange(size, device=tensor.device).view(-1, self.copies, rows)[:, self.copy_].flatten()


def _names(func: Any) -> list[str]:
    return [argument.name for argument in func._schema.arguments]


def _without_generator(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: None if name == "generator" else value for name, value in kwargs.items()}


def _seed_all(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
