"""Numbers that left a tensor, and that are followed through the arithmetic of Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ARITHMETIC = "add radd sub rsub mul rmul truediv rtruediv pow rpow neg abs mod floordiv".split()


class FollowedFloat(float):
    """A float that knows which values of a step it was made of."""

    values: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[float]]:
        """Be pickled as a plain number."""
        return float, (float(self),)


class FollowedInt(int):
    """An int that knows which values of a step it was made of."""

    values: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[int]]:
        """Be pickled as a plain number."""
        return int, (int(self),)


FOLLOWED = (FollowedFloat, FollowedInt)


def followed(number: Any, values: tuple[Any, ...]) -> Any:
    """Return a number, or a list of them, that knows its values; anything else as it is."""
    if type(number) is list:
        return [followed(item, values) for item in number]
    kind: Any = {float: FollowedFloat, int: FollowedInt}.get(type(number))
    if kind is None:
        return number
    same = kind(number)
    same.values = values
    return same


def _arithmetic(base: type, name: str) -> Callable[..., Any]:
    plain: Any = getattr(base, name)

    def operation(self: Any, *others: Any) -> Any:
        result = plain(self, *others)
        if result is NotImplemented:
            return result
        values = self.values + tuple(v for other in others for v in getattr(other, "values", ()) or ())
        return followed(result, values)

    return operation


for _name in _ARITHMETIC:
    setattr(FollowedFloat, f"__{_name}__", _arithmetic(float, f"__{_name}__"))
    setattr(FollowedInt, f"__{_name}__", _arithmetic(int, f"__{_name}__"))
