"""Numbers that left a tensor: they are followed through the arithmetic of Python, back into torch."""

from __future__ import annotations

from typing import Any

_BOTH = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_ARITHMETIC = ("neg", "abs", *_BOTH, *("r" + name for name in _BOTH))


class FollowedFloat(float):
    """A float that knows which values of a step it was made of; pickled it is a plain one."""

    values: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[float]]:
        return float, (float(self),)


class FollowedInt(int):
    """An int that does."""

    values: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[int]]:
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


def _arithmetic(plain: Any) -> Any:
    def operation(self: Any, *others: Any) -> Any:
        result = plain(self, *others)
        if result is NotImplemented:  # of a tensor, which takes it over
            return result
        return followed(result, sum((getattr(other, "values", ()) for other in others), self.values))

    return operation


for _name in (f"__{name}__" for name in _ARITHMETIC):
    setattr(FollowedFloat, _name, _arithmetic(getattr(float, _name)))
    setattr(FollowedInt, _name, _arithmetic(getattr(int, _name)))
