"""A module run twice, once with frozen weights: where a backward may not differentiate."""

from __future__ import annotations

import copy
import random
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hardgrad._torch_state import compiling
from hardgrad._tracing import constant_in_graph
from hardgrad.penalty.scopes import penalties, penalties_disabled
from hardgrad.two_track.lends import must_lend
from hardgrad.two_track.plain import is_repeatable, may_write, the_tensor


def two_runs(module: nn.Module, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tracks through a module called twice, with the noise of one call.

    The task's call sees copies of the buffers, so that a normalization layer counts the batch once, and penalties are
    disabled in it, so that a layer inside with a penalty of its own counts it once.
    """
    if may_write(module):
        task, learn = task.clone(), learn.clone()
    draws = None if compiling() else _Draws(module, learn.device)
    with penalties_disabled():
        task_output = the_tensor(
            module, torch.func.functional_call(module, _stand_ins(module), (task,), tie_weights=False)
        )
    must_lend(module, task, task_output)
    if draws is not None:
        draws.rewind()
    return task_output, the_tensor(module, module(learn))


def _stand_ins(module: nn.Module) -> dict[str, Tensor]:
    """Frozen weights and copied buffers, one a place.

    Not by ``named_parameters``: a weight that several modules share must be replaced in each, but a module that stands
    in several places only once, or Dynamo puts the stand-in back in place of the weight (torch 2.13).
    """
    leaves: dict[str, Tensor] = {}
    copies: dict[Tensor, Tensor] = {}
    for prefix, part in module.named_modules():
        dotted = f"{prefix}." if prefix else ""
        leaves |= {dotted + name: p.detach() for name, p in part._parameters.items() if p is not None}
        for name, buffer in part._buffers.items():
            if buffer is not None:
                copies.setdefault(buffer, buffer.clone())
                leaves[dotted + name] = copies[buffer]
    return leaves


class _Draws:
    """Where the random generators that a module may use stand."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._python = random.getstate()
        self._states = [(torch.default_generator, torch.default_generator.get_state())]
        for part in module.modules():
            own = (g for g in vars(part).values() if isinstance(g, torch.Generator))
            self._states += [(generator, generator.get_state()) for generator in own]
        self._device = None if device.type in ("cpu", "meta") else torch.get_device_module(device)
        self._on_device = None if self._device is None else self._device.get_rng_state(device)
        self._where = device

    def rewind(self) -> None:
        random.setstate(self._python)
        for generator, state in self._states:
            generator.set_state(state)
        if self._device is not None:
            self._device.set_rng_state(self._on_device, self._where)


def runs_alike(module: nn.Module, x: Tensor) -> bool:
    """Whether a second call computes what the first did; asked while a graph is traced."""
    if all(is_repeatable(part) for part in module.modules()):
        return True
    batch = x.shape if x.ndim < 2 else (2, *x.shape[1:])  # any batch, so that a graph for all sizes may stay one
    return _is_alike_on_trial(module, tuple(len(range(n)) for n in batch), x.dtype, x.device)


class _RandomNumbers(TorchDispatchMode):
    """Notes whether any operation draws random numbers."""

    random = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


@constant_in_graph
def _is_alike_on_trial(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> bool:
    """Try both calls on copies of a module, and see whether they are one network's."""
    devices = [] if device.type in ("cpu", "meta") else [device]
    try:
        with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"), torch.enable_grad():
            x = torch.randn(shape, device=device).to(dtype).requires_grad_()
            return _is_one_network(copy.deepcopy(module), copy.deepcopy(module), x)
    except Exception:  # whatever a user's module raises: it is run as it is then, once
        return False


def _is_one_network(frozen: nn.Module, live: nn.Module, x: Tensor) -> bool:
    """No noise, no attribute that a call replaces, no weight that stays live, no penalty inside that reaches x."""
    before = [dict(vars(part)) for part in frozen.modules()]
    with cast(Any, _RandomNumbers)() as drawn:
        with penalties_disabled():
            task_output = torch.func.functional_call(frozen, _stand_ins(frozen), (x.clone(),), tie_weights=False)
        with penalties() as bag:
            learned = live(x.clone())
    after = [vars(part) for part in frozen.modules()]
    kept = all(now[key] is value for now, then in zip(after, before, strict=True) for key, value in then.items())
    same = torch.equal(task_output.nan_to_num(), learned.nan_to_num())
    return kept and same and not drawn.random and _leaves_of(task_output) <= {x} and x not in _leaves_of(bag.total())


def _leaves_of(output: Tensor) -> set[Tensor]:
    """The leaves that a gradient of the output reaches."""
    leaves: set[Tensor] = set()
    seen, left = set(), [output.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [parent for parent, _ in node.next_functions]
            leaves |= {leaf for leaf in [getattr(node, "variable", None)] if leaf is not None}
    return leaves
