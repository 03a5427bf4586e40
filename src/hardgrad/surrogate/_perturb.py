"""Two-point: the value of any function, and the gradient that pairs of its values around the input give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import exporting, may_need_gradient, readable
from hardgrad.hard_layer import SurrogateLayer
from hardgrad.no_gradient import no_gradient
from hardgrad.surrogate.directions import Steps, Window, coordinates, normal, normal_alone, random, reflected
from hardgrad.surrogate.packed import Packed
from hardgrad.surrogate.row_numbers import PerInput, checked, of_input, side_by_side
from hardgrad.surrogate.two_point import lend
from hardgrad.user_code import value_of

Inputs = tuple[Tensor, ...]


class Perturb(SurrogateLayer):
    """The layer that ``perturb`` returns; its arguments are explained there."""

    word = "perturb"
    argument = "f"

    def __init__(
        self,
        f: Callable[..., Tensor],
        scale: PerInput,
        *,
        samples: int | None = None,
        directions: str = "random",
        noise: str | None = None,
        antithetic: bool = True,
        low: PerInput = None,
        high: PerInput = None,
        generator: torch.Generator | None = None,
        differentiable_in_eval: bool = False,
    ) -> None:
        super().__init__(f, differentiable_in_eval=differentiable_in_eval)
        self.scale = checked(self.word, "scale", scale)
        self.low = checked(self.word, "low", getattr(f, "low", None) if low is None else low)
        self.high = checked(self.word, "high", getattr(f, "high", None) if high is None else high)
        self.samples = None if samples is None else _check.whole(self.word, "samples", samples, least=1)
        _check.one_of(self.word, "directions", directions, ("random", "coordinates"))
        self.directions, self.noise = directions, noise
        self.antithetic = _check.flag(self.word, "antithetic", antithetic)
        self.generator = _check.generator(self.word, generator)
        self._check_noise()

    def _check_noise(self) -> None:
        if self.noise is not None:
            _check.one_of(self.word, "noise", self.noise, ("normal",), "None steps to two sides by scale exactly")
            if self.directions != "random":
                raise ValueError(f"{self.word}: noise is for directions='random', got {self.directions!r}; drop one")
        if self.antithetic:
            return
        if self.noise is None:
            raise ValueError(f"{self.word}: antithetic=False is for noise='normal', got noise=None; set that too")
        if (self.samples or 1) < 2:
            raise ValueError(f"{self.word}: antithetic=False needs samples of at least 2, got 1; each is held to others")

    def forward(self, *inputs: Tensor) -> Tensor:
        if exporting():
            return self._ask(*inputs)
        scales = self._check_inputs(inputs)
        lent = [x for x in inputs if x.is_floating_point() and may_need_gradient(x)]
        if not torch.is_grad_enabled() or not lent:
            return self._ask(*inputs)
        if not (self.training or self.differentiable_in_eval):
            return no_gradient(self._ask(*inputs), Packed(lent).table, self, self._why_no_gradient)
        return self._lend(inputs, [i for i, scale in enumerate(scales) if scale is not None])

    def _lend(self, inputs: Inputs, moved: list[int]) -> Tensor:
        self._check_gradients(inputs, moved)
        packed = Packed([inputs[i] for i in moved])
        with torch.no_grad():
            steps = self._steps(packed, moved, len(inputs))
            value, *answers = self._answers(inputs, packed, moved, steps.points)
            table = torch.stack([answer.reshape(len(answer), -1) for answer in answers])
            table = table.to(torch.promote_types(table.dtype, torch.float32))
            if steps.paired:
                difference = table[0::2] - table[1::2]
            else:
                difference = (table - table.mean(0)) * (len(table) / (len(table) - 1))
        return lend(value, packed.table, difference, steps.weight, steps.index)

    def _steps(self, packed: Packed, moved: list[int], inputs: int) -> Steps:
        at = packed.table.detach()
        scale, low, high = (
            side_by_side(
                self._label(), name, [of_input(self._label(), name, numbers, inputs)[i] for i in moved], packed.rows, at, m
            )
            for name, numbers, m in (
                ("scale", self.scale, 1.0),
                ("low", self.low, -torch.inf),
                ("high", self.high, torch.inf),
            )
        )
        assert scale is not None
        lower, upper = (packed.rounded(end) for end in reflected(at, scale, low, high))
        window = Window(at, scale, low, high, lower, upper)
        if readable(at):
            self._check_window(window)
        if self.noise is not None:
            kind = normal if self.antithetic else normal_alone
        else:
            kind = random if self.directions == "random" else coordinates
        return kind(window, self.samples, self.generator)

    def _answers(
        self, inputs: Inputs, packed: Packed, moved: list[int], points: Iterable[Tensor]
    ) -> Iterator[Tensor]:
        value = self._ask(*inputs)
        yield value
        for point in points:
            given = list(inputs)
            for i, x in zip(moved, packed.unpack(point, round_to_inputs=True), strict=True):
                given[i] = x
            answer = self._ask(*given)
            if answer.shape != value.shape:
                raise ValueError(
                    f"{self._label()}: f must return one shape whatever the numbers, got {tuple(value.shape)} at x and "
                    f"{tuple(answer.shape)} beside it; pad to a fixed length"
                )
            yield answer

    def _ask(self, *inputs: Tensor) -> Tensor:
        value: Any = value_of(self.hard, *inputs)
        if not isinstance(value, Tensor):
            raise ValueError(f"{self._label()}: f must return a tensor, got {type(value).__name__}")
        self._check_value(inputs[0], value)
        return value

    def _check_inputs(self, inputs: Inputs) -> list[Any]:
        for i, x in enumerate(inputs):
            _check.tensor(self._label(), f"input {i}", x)
        scales = of_input(self._label(), "scale", self.scale, len(inputs))
        for i, (x, scale) in enumerate(zip(inputs, scales, strict=True)):
            if x.ndim == 0 or len(x) != len(inputs[0]):
                raise ValueError(f"{self._label()}: the first dimension of every input must be the batch, got {i}")
            if scale is not None:
                _check.floating(self._label(), f"input {i}", x)
        return scales

    def _check_gradients(self, inputs: Inputs, moved: list[int]) -> None:
        for i, x in enumerate(inputs):
            if x.requires_grad and i not in moved:
                raise ValueError(f"{self._label()}: input {i} needs a gradient, but its scale is None")
        if isinstance(self.hard, nn.Module) and any(p.requires_grad for p in self.hard.parameters()):
            raise ValueError(f"{self._label()}: parameters of f get no gradient here; freeze them")

    def _check_window(self, window: Window) -> None:
        pass


def perturb(
    f: Callable[..., Tensor],
    scale: PerInput,
    *,
    samples: int | None = None,
    directions: str = "random",
    noise: str | None = None,
    antithetic: bool = True,
    low: PerInput = None,
    high: PerInput = None,
    generator: torch.Generator | None = None,
    differentiable_in_eval: bool = False,
) -> Perturb:
    """Two-point."""
    return Perturb(
        f,
        scale,
        samples=samples,
        directions=directions,
        noise=noise,
        antithetic=antithetic,
        low=low,
        high=high,
        generator=generator,
        differentiable_in_eval=differentiable_in_eval,
    )
