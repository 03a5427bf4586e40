"""The layer of two points: f is asked around its input in the forward, and the backward sums what it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from math import inf
from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import exporting, may_need_gradient, readable
from hardgrad.black_box._black_box import BlackBox
from hardgrad.black_box.errors import BoxError
from hardgrad.hard_layer import SurrogateLayer
from hardgrad.no_gradient import no_gradient
from hardgrad.surrogate.directions import normal, two_points, window
from hardgrad.surrogate.packed import Packed
from hardgrad.surrogate.perturb_rules import check_answer, check_gradients, check_inputs, check_noise, check_window
from hardgrad.surrogate.row_numbers import PerInput, checked, for_each, side_by_side
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
        samples: int | None,
        directions: str,
        noise: str | None,
        antithetic: bool,
        low: PerInput,
        high: PerInput,
        generator: torch.Generator | None,
        differentiable_in_eval: bool,
    ) -> None:
        super().__init__(f, differentiable_in_eval=differentiable_in_eval)
        if isinstance(f, BlackBox):
            low, high = f.low if low is None else low, f.high if high is None else high
        self.scale = checked(self.word, "scale", scale, step=True)
        if all(each is None for each in (scale if isinstance(scale, tuple) else (scale,))):
            raise ValueError(f"{self.word}: scale must be given for an input at least, got {scale}; give a number")
        self.low, self.high = checked(self.word, "low", low), checked(self.word, "high", high)
        self.samples = None if samples is None else _check.whole(self.word, "samples", samples, least=1)
        self.directions, self.noise = directions, noise
        self.antithetic = _check.flag(self.word, "antithetic", antithetic)
        self.generator = _check.generator(self.word, generator)
        check_noise(self.word, directions, noise, self.antithetic, self.samples)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        inputs = (x, *more)
        scales = check_inputs(self._label(), inputs, self.scale)
        asking = [i for i, x in enumerate(inputs) if x.is_floating_point() and may_need_gradient(x)]
        if exporting() or not torch.is_grad_enabled() or not asking:
            return self._ask(*inputs)
        if not (self.training or self.differentiable_in_eval):
            table = Packed([inputs[i] for i in asking]).table
            return no_gradient(self._ask(*inputs), table, self, self._why_no_gradient)
        moved = [i for i, scale in enumerate(scales) if scale is not None]
        check_gradients(self._label(), self.hard, inputs, moved)
        packed = Packed([inputs[i] for i in moved])
        with torch.no_grad():
            points, weight = self._directions(packed, moved, len(inputs))
            value, *answers = self._answers(inputs, packed, moved, points)
            difference = self._difference(answers)
        return lend(value, packed.table, difference, weight)

    def _directions(self, packed: Packed, moved: list[int], inputs: int) -> tuple[Iterable[Tensor], Tensor]:
        """Return where f is asked around its input, and what each difference is multiplied by."""
        at, label = packed.table.detach(), self._label()
        scale, low, high = (
            side_by_side(label, name, [numbers[i] for i in moved], packed.shapes, at, missing)
            for name, given, missing in (("scale", self.scale, 1.0), ("low", self.low, -inf), ("high", self.high, inf))
            if (numbers := for_each(label, name, given, inputs))
        )
        assert scale is not None
        lower, upper = (self._seen(packed, end) for end in window(at, scale, low, high))
        if readable(at.cpu() if self._wide else at):  # to wait for a device is nothing beside a program
            eps = max(torch.finfo(dtype).eps for dtype in packed.dtypes)
            check_window(label, at, low, high, upper - lower, eps)
        if self.generator is not None:
            _check.generator(self.word, self.generator, at.device)
        if self.noise is None:
            return two_points(at, lower, upper, self.directions == "coordinates", self.samples, self.generator)
        points, weight = normal(at, scale, self.antithetic, self.samples, self.generator)
        return (points if low is None and high is None else (p.clamp(low, high) for p in points)), weight

    def _answers(self, inputs: Inputs, packed: Packed, moved: list[int], points: Iterable[Tensor]) -> list[Tensor]:
        """Return f at the inputs, and at each point beside them."""

        def beside(point: Tensor) -> Inputs:
            given = dict(zip(moved, packed.unpack(point, wide=self._wide), strict=True))
            return tuple(given.get(i, x) for i, x in enumerate(inputs))

        rows = len(inputs[0])
        answers: list[Tensor] = []
        calls, together = chain([inputs], map(beside, points)), self._together(rows)
        while group := list(islice(calls, together)):
            joined = group[0] if len(group) == 1 else [torch.cat(each) for each in zip(*group, strict=True)]
            try:
                answer = self._ask(*joined)
            except BoxError as error:
                if error.row is not None and len(group) > 1:
                    error.add_note(
                        f"{self._label()}: points beside x were asked too; that is row {error.row % rows} of x"
                    )
                raise
            check_answer(self._label, answer, rows * len(group), answers)
            answers += answer.split(rows) if len(group) > 1 else [answer]
        if together > 1:  # a box gives the dtype of its first floating input, which may have been widened beside others
            answers[0] = answers[0].to(next(x.dtype for x in inputs if x.is_floating_point()))
        return answers

    @property
    def _wide(self) -> bool:
        """Whether f takes single precision whatever the input's dtype, so that a small step is not lost in rounding."""
        return isinstance(self.hard, BlackBox)

    def _seen(self, packed: Packed, table: Tensor) -> Tensor:
        """Return numbers as f will see them."""
        return table if self._wide else Packed(packed.unpack(table)).table

    def _together(self, rows: int) -> int:
        """How many points are asked in one call: enough to keep the workers of a box busy that takes row by row."""
        box = self.hard
        if not isinstance(box, BlackBox) or box.batched or not box.workers or not rows:
            return 1
        return -(-4 * box.workers // rows)

    def _difference(self, answers: list[Tensor]) -> Tensor:
        """Of each pair, or of each answer to the mean of the others; in single precision at least."""
        wide = torch.promote_types(answers[0].dtype, torch.float32)
        if self.antithetic:
            pairs = zip(answers[0::2], answers[1::2], strict=True)
            return torch.stack([plus.to(wide) - minus.to(wide) for plus, minus in pairs])
        table = torch.stack(answers).to(wide)
        return (table - table.mean(0)) * (len(table) / (len(table) - 1))

    def _ask(self, *inputs: Tensor) -> Tensor:
        if self._wide and not exporting():  # a box writes into nothing, and keeps nothing
            with torch.no_grad():
                value: Any = self.hard(*(x.detach() for x in inputs))
        else:
            value = value_of(self.hard, *inputs)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{self._label()}: f must return a tensor, got {type(value).__name__}; hardgrad.BlackBox makes one of "
                "what a NumPy program returns"
            )
        self._check_value(inputs[0], value)
        return value
