"""The results of the last distinct inputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from hardgrad.black_box.arrays import Row


class Recent:
    """Keeps the last ``most`` results, by the bytes of what the program got; asking for one makes it the last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def key(self, number: int, row: Row, double: bool) -> Hashable:
        """Return what a row is known by; without a cache, each is known by its number alone."""
        return (double, *((a.shape, a.dtype.str, a.tobytes()) for a in row)) if self._most else number

    def known(self, keys: Iterable[Hashable]) -> dict[Hashable, Any]:
        """Return the results that are here."""
        found = {key: self._kept[key] for key in keys if key in self._kept}
        for key in found:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, result: Any) -> None:
        """Keep a result in the place of the one that was not asked for longest."""
        if self._most:
            self._kept[key] = result
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
