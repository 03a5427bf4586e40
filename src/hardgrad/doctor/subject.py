"""One candidate at one smoothed objective: what a gradient of it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardgrad.doctor.copies import Candidate, Shared, private_copy, required_arguments
from hardgrad.doctor.others import Others
from hardgrad.doctor.pace import Pace
from hardgrad.doctor.randomness import seeded
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.penalty.bag import Penalties
from hardgrad.penalty.scopes import penalties

# Adam's rate in warm_up: three times its usual one, as these networks are small and the steps are few.
_RATE = 3e-3
_ROWS_A_STEP = 128
_SHARE_OF_WARM_UP = 0.5  # of a candidate's time, where there is a limit


class Subject:
    """A candidate and the objective it is examined on.

    Args:
        name: in the table and in errors.
        candidate: a layer ``x -> y``, or a Monte Carlo estimator ``(q, f) -> (*batch,)``.
        smoothed: the objective.
        shared: what a copy holds in place of the user's function.

    Raises:
        ValueError: if the candidate takes neither one argument nor two, or is a layer where there is nothing to enter.
    """

    def __init__(self, name: str, candidate: Candidate, smoothed: Smoothed, shared: Shared) -> None:
        arguments = required_arguments(candidate)
        if arguments not in (1, 2):
            raise ValueError(
                f"diagnose: {name} must require one argument, x -> y, or two, (q, f) -> estimate, got {arguments}; fix "
                "the others with functools.partial"
            )
        self.name = name
        self.is_layer = arguments == 1
        self.smoothed = smoothed
        self._candidate = candidate
        self._shared = shared
        self.at_once = 1  # copies of the batch that may be stacked; see ``copies_at_once``
        if self.is_layer and smoothed.hard is None:
            raise ValueError(
                f"diagnose: {name} takes one argument, so it is a layer, which needs a tensor as inputs and a hard "
                "function, got a distribution; an estimator takes (q, f)"
            )

    def fresh(self) -> Candidate:
        """Return a copy to run, as the candidate stood before any draw."""
        return private_copy(self._candidate, self._shared.memo(), train=True, state=True)

    def rows_evaluated(self) -> int:
        """Return for how many rows the function was called up to now, by this candidate or any other of its kind."""
        return self._shared.rows if self.is_layer else self.smoothed.count.rows

    def gradients(self, run: Candidate, noise: Tensor, others: Others | None = None) -> tuple[Tensor, Penalties]:
        """Return independent gradients of the batch, and the penalties that came with them.

        Args:
            run: a copy.
            noise: what a layer's input is moved by, shape ``(n, *x.shape)``; only its n matters to an estimator.
            others: what is done to all copies but one, to see whether that one feels it.

        Returns:
            Shape ``(n, *x.shape)``, zeros where nothing leads back to x; and the bag.
        """
        n = noise.shape[0]
        with torch.enable_grad(), penalties() as bag:
            x = self.smoothed.copies(n)
            x = (x if others is None else x + others.move.reshape(x.shape)).requires_grad_()
            numbers = self._loss(run, x, noise.reshape(x.shape), others)
            loss = (numbers if others is None else others.weigh(numbers)).sum()
            slope = torch.autograd.grad(loss, x, allow_unused=True)[0] if loss.requires_grad else None
        gradient = torch.zeros_like(x) if slope is None else slope
        return gradient.view(n, *self.smoothed.x.shape), bag

    def warm_up(self, steps: int, seed: int, pace: Pace) -> None:
        """Let a copy learn from its penalties for some steps, and be the candidate from then on."""
        end = pace.affordable(1.0, 1 - _SHARE_OF_WARM_UP)  # seconds that must be left
        run, copies = self.fresh(), min(-(-_ROWS_A_STEP // self.smoothed.rows), self.at_once)
        optimizer: torch.optim.Optimizer | None = None
        with seeded(seed, self.smoothed.x.device) as generator:
            for step in range(steps):
                pace.reached(0.0)
                if pace.affordable(1.0) < end:
                    if optimizer:
                        pace.cuts.append(f"{self.name}: learned for {step} of {steps} steps")
                    break
                noise = self.smoothed.noise(copies, generator)
                with torch.enable_grad(), penalties() as bag:
                    x = self.smoothed.copies(copies).requires_grad_()
                    self._loss(run, x, noise.reshape(x.shape))
                penalty = bag.total()
                if not penalty.requires_grad or not learning(bag):
                    continue
                optimizer = optimizer or torch.optim.Adam(learning(bag), lr=_RATE)
                _step(optimizer, penalty)
        self._candidate = run

    def _loss(self, run: Candidate, x: Tensor, noise: Tensor, others: Others | None = None) -> Tensor:
        """One number for each row of x, copies of the batch."""
        if not self.is_layer:
            values, batch_dims = self.smoothed.values, len(self.smoothed.batch_shape)
            f = values if others is None else others.alter(values, batch_dims)
            value = run(self.smoothed.distribution(x.to(self.smoothed.given)), f)
            wanted = x.shape[: x.ndim - self.smoothed.x.ndim + batch_dims]
            if not isinstance(value, Tensor) or value.shape != wanted:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"{self.name}: an estimator must return one number per row, {tuple(wanted)}, got {got}"
                )
            return value
        y = run(x + noise)
        y = y[0] if isinstance(y, tuple) and y else y  # of a codebook's (value, index)
        if not isinstance(y, Tensor) or y.shape[:1] != x.shape[:1]:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"{self.name}: a layer must keep the batch of its input {tuple(x.shape)}, got {got}")
        return self.smoothed.outputs(y)


def learning(bag: Penalties) -> list[nn.Parameter]:
    """Return the weights that penalties train; the commitment of a codebook has none."""
    return [p for module in bag.modules() for p in module.parameters() if p.requires_grad]


def _step(optimizer: torch.optim.Optimizer, penalty: Tensor) -> None:
    """One step on a penalty that touches no ``.grad`` but those of the optimizer's own parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
