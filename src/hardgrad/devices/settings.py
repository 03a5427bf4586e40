"""What devices are set by: numbers with a unit, declared once, that learn, or are given anew in a call."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from hardgrad import _check
from hardgrad._torch_state import has_numbers, readable

Value = float | Tensor
State = TypeVar("State")


class Setting:
    """One setting of a layer, as a class attribute: reads the value in its unit, and can be set to another.

    Args:
        least: the smallest value that a user may give; a time of 0 ms is at once.
        most: the largest one.
        end: an infinity that may be given, too, where the setting does not learn.
        log: whether the parameter holds the logarithm of value - least, so that no optimizer can leave the range. Else
            it holds the value, and an optimizer goes where it likes.
    """

    def __init__(
        self, *, least: float | None = None, most: float | None = None, end: float | None = None, log: bool = False
    ) -> None:
        self.least, self.most, self.end, self.log = least, most, end, log

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.held = name, f"log_{name}" if self.log else f"raw_{name}"

    def __get__(self, layer: DeviceLayer | None, owner: type | None = None) -> Any:
        return self if layer is None else self.value(cast(Tensor, getattr(layer, self.held)))

    def __set__(self, layer: DeviceLayer, value: object) -> None:
        word, held = type(layer).__name__, cast(Tensor, getattr(layer, self.held))
        new = self.held_as(word, self.checked(word, value).detach(), held.requires_grad)
        with torch.no_grad():
            held.copy_(expanded(word, self.name, new, held.shape, "the shape it was built with,"))

    def value(self, held: Tensor) -> Tensor:
        """Return the value that a parameter stands for."""
        return held.exp() + (self.least or 0.0) if self.log else held

    def held_as(self, owner: str, value: Tensor, learns: bool) -> Tensor:
        """Return what a parameter must hold for a value, or raise where it could not learn from there."""
        held = (value - (self.least or 0.0)).log() if self.log else value.clone()
        infinite = value[value.isinf()].tolist() if has_numbers(held) else []
        for got in infinite:
            if got != self.end:  # which a user may give; another is a number that its precision has no room for
                raise ValueError(
                    f"{owner}: {self.name} must be finite in {value.dtype}, got {got:g}; give a smaller one"
                )
        if learns and has_numbers(held) and bool(held.isinf().any()):
            got, rule = (self.end, "finite") if infinite else (self.least, f"above {self.least:g}")
            raise ValueError(
                f"{owner}: {self.name} must be {rule} to learn, got {got:g}, which no step leaves; give another value, "
                "or build the layer with learn= a list without this name"
            )
        return held

    def checked(self, owner: str, value: object) -> Tensor:
        """Return what a user gives as a floating point tensor, or raise; what cannot be read is not looked at."""
        if isinstance(value, float) and value == self.end:
            return torch.tensor(value, dtype=torch.float64)
        if not isinstance(value, Tensor):
            number = _check.number(owner, self.name, value, least=self.least, most=self.most, cure=_CURE)
            return torch.tensor(float(number), dtype=torch.float64)
        if value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{owner}: {self.name} must hold real numbers, got {value.dtype}; {_CURE}")
        if readable(value) and value.numel():
            for end in torch.aminmax(value.detach()):
                _check.number(owner, self.name, end.item(), least=self.least, most=self.most, cure=_CURE)
        return value if value.is_floating_point() else value.double()


_CURE = "give a number, or a tensor that broadcasts against x's leading dimensions"


def handed_on(state: type[State]) -> type[State]:
    """Let ``torch.export`` save a program that takes and returns such a state, a NamedTuple."""
    _register_namedtuple(state, serialized_type_name=f"hardgrad.{state.__name__}")
    return state


class DeviceLayer(nn.Module):
    """What all devices share: settings, rows of samples in and out, a state that is handed on.

    Args:
        sample_rate: samples a second.
        learn: True, False, or the names of the settings that learn.
        settings: a number, or a tensor that broadcasts against x's leading dimensions, for each ``Setting``.
    """

    settings: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}
        cls.settings = {**cls.settings, **own}

    def __init__(self, sample_rate: float, learn: bool | Collection[str], **settings: object) -> None:
        super().__init__()
        self.word = type(self).__name__
        self.sample_rate = float(_check.number(self.word, "sample_rate", sample_rate, above=0, cure="it is in Hz"))
        names = _learners(self.word, learn, list(self.settings))
        for name, given in settings.items():
            setting = self.settings[name]
            value = setting.checked(self.word, given).detach()
            if not isinstance(given, Tensor):
                value = value.to(torch.get_default_dtype())
            held = setting.held_as(self.word, value, name in names)
            self.register_parameter(setting.held, nn.Parameter(held, requires_grad=name in names))

    def _rows(self, x: object) -> Tensor:
        """Return x (*lead, samples) as rows (n, samples) in double precision, or raise."""
        x = _check.floating(self.word, "x", x)
        if not x.ndim:
            raise ValueError(f"{self.word}: x must be (*, samples), got one number; unsqueeze it")
        return x.reshape(x.shape[:-1].numel(), x.shape[-1]).double()

    def _heard(self, side: object, x: Tensor, rows: Tensor) -> Tensor:
        """Return the rows of a side chain for each channel of x, x's own where there is none, or raise."""
        if side is None:
            return rows
        side = _check.floating(self.word, "side", side)
        if side.shape[-1:] == x.shape[-1:]:
            try:
                return self._rows(side.expand(x.shape))
            except RuntimeError:
                pass
        raise ValueError(
            f"{self.word}: side must broadcast to x {tuple(x.shape)}, with as many samples, got {tuple(side.shape)}; "
            "one for all channels is (batch, 1, samples)"
        )

    def _set(self, name: str, given: object, lead: torch.Size) -> Tensor:
        """Return a setting for each row (n,) in double precision: the one of this call, or the layer's own."""
        setting = self.settings[name]
        held = cast(Tensor, getattr(self, setting.held))
        value = setting.value(held.double()) if given is None else setting.checked(self.word, given).to(held.device)
        return expanded(self.word, name, value.double(), lead, "x's leading dimensions").reshape(-1)

    def _learns(self, name: str) -> bool:
        return cast(Tensor, getattr(self, self.settings[name].held)).requires_grad

    def _started(self, state: Any, kind: Any, lead: torch.Size) -> Any:
        """Return a state that fits x, or None, or raise."""
        if state is None:
            return None
        if not isinstance(state, kind):
            raise TypeError(
                f"{self.word}: state must be the {kind.__name__} that an earlier call returned, got "
                f"{_check.kind_of(state)}; start with state=None"
            )
        for each in state:
            if each.shape != lead:
                raise ValueError(
                    f"{self.word}: state must be of x's leading dimensions {tuple(lead)}, got {tuple(each.shape)}; "
                    "start a new batch with state=None"
                )
        return kind(*(each.double() for each in cast("tuple[Tensor, ...]", state)))

    def extra_repr(self) -> str:
        shown = [f"{name}={_words(getattr(self, name))}" for name in self.settings]
        return ", ".join([*shown, f"sample_rate={self.sample_rate:g}"])


def expanded(owner: str, name: str, value: Tensor, shape: torch.Size, what: str) -> Tensor:
    """Return a tensor that broadcasts to a shape, expanded, or raise."""
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"{owner}: {name} must broadcast to {what} {tuple(shape)}, got {tuple(value.shape)}; a value a channel is "
            "(channels,), a value a recording (batch, 1)"
        ) from None


def _learners(owner: str, learn: object, names: list[str]) -> set[str]:
    if isinstance(learn, bool):
        return set(names) if learn else set()
    if isinstance(learn, Collection) and not isinstance(learn, str | Tensor) and all(each in names for each in learn):
        return set(cast("Collection[str]", learn))
    raise ValueError(
        f"{owner}: learn must be True, False or a list of names out of {', '.join(names)}, got {learn!r}; name the "
        "settings that an optimizer may move"
    )


def _words(value: Tensor) -> str:
    return f"{value.item():.4g}" if value.numel() == 1 and has_numbers(value) else f"tensor of {tuple(value.shape)}"
