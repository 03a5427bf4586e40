"""What a scope collects: the penalties of the layers called inside, by name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, has_outlived
from hardgrad.penalty.names import names_below, outermost_call

CHANGING = threading.Lock()  # the scopes and what they hold; one for all, since a bag must travel and a lock cannot


class Penalties:
    """The penalties of one ``penalties()`` scope, by module name.

    Iterating gives ``(module name, penalty)``, one pair a module, its calls summed; ``dict(bag)`` works. The name is
    what the outermost module called has for the layer in its ``named_modules()``. Code compiled together with its
    caller does not tell it: pass the model to ``penalties``, or the layers are numbered.

    Args:
        model: where to look names up; found by itself where it can be.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._items: list[tuple[nn.Module, Tensor]] = []
        self._names: dict[nn.Module, str] = {}
        self._model = model
        if model is not None:
            self._name_all_below(model)

    def total(self) -> Tensor:
        """Return the sum of all penalties collected so far, a tensor of shape (); zero if there are none.

        It is on the first one's device, and of the widest of their dtypes, single precision at least.
        """
        penalties = [penalty for _, penalty in self._live()]
        if not penalties:
            return torch.zeros(())
        dtype = reduce(torch.promote_types, (penalty.dtype for penalty in penalties), torch.float32)
        return torch.stack([penalty.to(penalties[0].device, dtype) for penalty in penalties]).sum()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        taken: set[str] = set()
        for number, (key, (module, penalty)) in enumerate(self._sums().items()):
            name = key if isinstance(key, str) else self._names.get(module)
            if not name or name in taken:  # two models may use one name
                name = f"{name or type(module).__name__.lower()}_{number}"
            taken.add(name)
            yield name, penalty

    def modules(self) -> list[nn.Module]:
        """Return the modules whose penalties these are, in the order they were first called."""
        return [module for module, _ in self._sums().values()]

    def __len__(self) -> int:
        return len(self._sums())

    def holds(self, module: nn.Module) -> bool:
        """Whether this is a module of the model that the scope was opened with."""
        return self._model is not None and module in self._names

    def _sums(self) -> dict[nn.Module | str, tuple[nn.Module, Tensor]]:
        """Each layer's penalty; the replicas of one layer, which ``nn.DataParallel`` makes, are one by their name."""
        sums: dict[nn.Module | str, tuple[nn.Module, Tensor]] = {}
        for module, penalty in self._live():
            key = (self._names.get(module) or module) if getattr(module, "_is_replica", False) else module
            if key in sums:
                module, before = sums[key]
                penalty = before + penalty.to(before.device)
            sums[key] = module, penalty
        return sums

    def _live(self) -> list[tuple[nn.Module, Tensor]]:
        items = list(self._items)
        if any(has_outlived(penalty) for _, penalty in items):
            raise RuntimeError(
                "penalties: a penalty belongs to the torch.func transform that its layer was called in, and that is "
                "over; open the scope inside the transformed function, and add bag.total() to the loss there"
            )
        return items

    def add(self, module: nn.Module, penalty: Tensor) -> None:
        """Take in the penalty of one call of a layer."""
        if compiling():
            self._items.append((module, penalty))
            return
        with CHANGING:
            self._items.append((module, penalty))
            if module not in self._names:
                outermost = outermost_call()
                # Not asked whether it is true: a compiled module passes that on to a len() that may not be there.
                self._name_all_below(module if outermost is None else outermost)

    def _name_all_below(self, root: nn.Module) -> None:
        for child, name in names_below(root):
            self._names.setdefault(child, name)
