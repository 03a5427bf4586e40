"""What a step goes down: the loss of the task, compiled, in bf16, or shared among processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import hardgrad as hg
from hardgrad.penalty.add import add_penalty
from hardgrad_lab.runs.products import bf16_products
from hardgrad_lab.runs.spread import world

Loss = Callable[[Tensor, Tensor], Tensor]


def as_asked(loss: Loss, model: nn.Module, *, compiled: bool, bf16: bool) -> Loss:
    """Return the loss as the loop is to compute it.

    Args:
        loss: of the task, from a batch.
        model: that it trains.
        compiled: through ``torch.compile``.
        bf16: with what ``torch.autocast`` takes for safe in bfloat16; weights, gradients and evaluations stay in
            float32.

    Returns:
        A loss that hands penalties to the open scope as ``loss`` does, and whose gradients are means over all
        processes.
    """
    device = next(model.parameters()).device
    if bf16:
        loss = InBf16(loss, device)
    if compiled:  # last, so that it is no InBf16: inside Float32Products torch.compile leaves code as it is, unsaid
        loss = torch.compile(loss)
    return loss if world() == 1 else _shared(loss, model, device)


@dataclass(frozen=True)
class InBf16:
    """A loss under ``torch.autocast``, in bfloat16.

    Args:
        loss: of the task, from a batch.
        device: on which it is computed.
    """

    loss: Loss
    device: torch.device

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, of shape ()."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.loss(inputs, targets)


def products(of: object, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of what multiplies bfloat16: a loss in it with its backward pass, or a step of Muon."""
    if isinstance(of, Together):
        of = of.loss
    return bf16_products(device) if isinstance(of, InBf16 | torch.optim.Muon) else nullcontext()


class Step(nn.Module):
    """A batch to its loss and penalty: what DistributedDataParallel can wrap, whatever the loss calls of the model.

    Args:
        model: whose gradients are to be averaged.
        loss: from a batch, through the model.
    """

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of the task and the penalties' sum, both of shape ()."""
        with hg.penalties() as bag:
            task = self.loss(inputs, targets)
        return task, bag.total().to(task.device)


@dataclass(frozen=True)
class Together:
    """A loss whose gradients are means over all processes.

    Args:
        parallel: a ``Step`` of the loss.
        loss: of the task, from a batch.
    """

    parallel: DistributedDataParallel
    loss: Loss

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of this process's batch, of shape ()."""
        task, penalty = self.parallel(inputs, targets)
        return add_penalty(self.parallel, task, penalty)


def _shared(loss: Loss, model: nn.Module, device: torch.device) -> Loss:
    # A branch that no row took, or a layer that a contestant leaves out, is in no graph.
    devices = [device] if device.type == "cuda" else None
    parallel = DistributedDataParallel(Step(model, loss), device_ids=devices, find_unused_parameters=True)
    return Together(parallel, loss)
