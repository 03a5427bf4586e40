"""What a codebook counts, and how it moves its codes: by the mean of what took them, or to a row where none did.

What a batch says is noted after its forward and applied at the beginning of the next: so codes never move between a
forward and its backward. It is summed over all processes when it is noted, so each has the whole of it, and a saved
state too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import compiling, exporting, has_numbers, in_backward, in_graph, in_transform
from hardgrad.codebook import start as _start_operator  # noqa: F401  # registers what ``before`` calls
from hardgrad.codebook.everywhere import added, places, rows_at, sizes_of
from hardgrad.codebook.usage import Usage, usage_of
from hardgrad.penalty.scopes import penalties_enabled

WINDOW = 100  # training batches


class Statistics(nn.Module):
    r"""The moving counts of a codebook's codes, where its codes are to move next, and the usage of recent batches.

    With :math:`n_i` rows of mean :math:`\bar z_i` at code i, of all processes together,

    .. math::
        N_i \leftarrow \gamma N_i + (1 - \gamma) n_i, \qquad
        e_i \leftarrow e_i + \frac{(1 - \gamma) n_i}{N_i} (\bar z_i - e_i),

    which is the published moving sum over the moving count, :math:`m_i / N_i`, with no sum to keep: so codes that
    somebody assigns stay assigned, and no small count divides a small sum. Every code begins with the weight of a row.

    A code is dead when its moving count falls below ``revive`` times the mean of all; it is replaced by a row of the
    batch, and its count by that mean.

    Nothing is counted under ``penalties_disabled``, in the second run of an activation checkpoint, in transforms of
    torch.func, or in an export. Training mode under ``no_grad`` counts: a reentrant checkpoint first runs so.
    """

    counts: Tensor
    share: Tensor
    target: Tensor
    window: Tensor
    seen: Tensor
    phase: Tensor
    done: Tensor

    def __init__(
        self,
        heads: int,
        codes: int,
        width: int,
        *,
        learn: str | None,
        start: object,
        revive: float | None,
        decay: float,
    ) -> None:
        super().__init__()
        self.learn = learn
        self.decay = _check.number("Codebook", "decay", decay, least=0, below=1, cure="0.99 is usual")
        if revive is not None:
            cure = "it is a share of the mean count; None revives nothing"
            revive = _check.number("Codebook", "revive", revive, above=0, below=1, cure=cure)
        self.revive = revive
        self.moves = learn == "ema" or (learn == "gradient" and revive is not None)
        self.started = not (isinstance(start, str) and start == "kmeans")
        self.register_buffer("counts", torch.ones(heads, codes))
        self.register_buffer("share", torch.zeros(heads, codes))  # of the way to the target that codes go next
        self.register_buffer("target", torch.zeros(heads, codes if self.moves else 0, width))
        self.register_buffer("window", torch.zeros(2, heads, codes, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("phase", torch.randint(2**31, ()))
        self.register_buffer("done", torch.tensor(self.started))

    def begun(self) -> bool:
        """Whether there are codes; the buffer knows of those that other hands than ``load_state_dict`` copied here."""
        if not (self.started or in_graph() or in_transform()) and has_numbers(self.done):
            self.started = bool(self.done)
        return self.started

    def begin(self) -> None:
        """Take the codes that there are to begin with, and forget what a batch said of others."""
        self.started = True
        self.done.fill_(True)
        self.share.zero_()

    @torch.no_grad()
    def before(self, weight: Tensor, rows: Tensor, keep: Tensor | None) -> None:
        """Start the codes ``weight`` (h, k, w) from rows (h, n, w), or move them in place by what the last batch said.

        ``keep`` (n,) says which rows count, None all; n may be 0.
        """
        if not self._counts():
            return
        if not self.started:
            weight.copy_(torch.ops.hardgrad.started_codes(weight, self.done, rows, keep, self.phase))
            self.begin()
        elif self.moves:
            _write(weight, torch.ops.hardgrad.moved_codes(weight, self.target, self.share))
            _write(self.share, torch.zeros_like(self.share))

    @torch.no_grad()
    def after(self, rows: Tensor, index: Tensor, keep: Tensor | None) -> None:
        """Note which codes rows (h, n, w) took, ``index`` (h, n); -1 is none."""
        if not self._counts():
            return
        heads, codes = self.counts.shape
        # One more code a head takes what is not to count, NaN rows among it.
        slot = index.remainder(codes + 1)
        slot = slot if keep is None else torch.where(keep, slot, codes)
        slot = (slot + (codes + 1) * torch.arange(heads, device=slot.device).unsqueeze(-1)).reshape(-1)
        # Counted in whole numbers: single precision stops at 2**24.
        here = slot.new_zeros(heads * (codes + 1)).scatter_add(0, slot, torch.ones_like(slot))
        here = here.view(heads, -1)[:, :codes].reshape(-1)
        both = added(torch.cat([here, sizes_of(rows, keep)]))
        counts, sizes = both[: len(here)].view(heads, codes), both[len(here) :]
        self._remember(counts)
        if self.moves:
            self._plan(rows.to(self.target.dtype), slot, keep, counts, sizes)

    def _remember(self, counts: Tensor) -> None:
        full = self.seen >= WINDOW
        now, last = self.window
        _write(self.window, torch.where(full, torch.stack([counts, now]), torch.stack([now + counts, last])))
        _write(self.seen, torch.where(full, 1, self.seen + 1))

    def _plan(self, rows: Tensor, slot: Tensor, keep: Tensor | None, counts: Tensor, sizes: Tensor) -> None:
        """Set where the codes go next, and how much of the way."""
        heads, codes = counts.shape
        some = sizes.sum() > 0
        moving = torch.where(some, self.counts.lerp(counts.to(self.counts.dtype), 1 - self.decay), self.counts)
        share, goal = torch.zeros_like(moving), torch.zeros_like(self.target)
        if self.learn == "ema":
            share = torch.where(counts > 0, (1 - self.decay) * counts / moving, 0)
            sums = goal.new_zeros(heads * (codes + 1), goal.shape[-1]).index_add_(0, slot, rows.flatten(0, 1))
            goal = sums.view(heads, codes + 1, -1)[:, :codes] / counts.clamp(min=1).unsqueeze(-1)
        if self.revive is not None:
            mean = moving.mean(-1, keepdim=True)
            dead = some & (moving < self.revive * mean)
            place, phase = places(self.phase, (heads, codes), sizes.sum())
            _write(self.phase, phase)
            goal = torch.where(dead.unsqueeze(-1), rows_at(rows, keep, sizes, place), goal)
            moving, share = torch.where(dead, mean, moving), torch.where(dead, 1, share)
        goal = added(goal)
        good = goal.isfinite().all(-1)  # what is not moves nothing
        _write(self.target, torch.where(good.unsqueeze(-1), goal, 0))
        _write(self.share, torch.where(good, share, 0))
        _write(self.counts, moving)

    def usage(self) -> Usage:
        """Return the usage of the last 100 to 199 training batches, of all processes; only this waits for the device.

        Raises:
            RuntimeError: if no row of a training batch has been counted.
        """
        counts = self.window.sum(0)
        if counts.is_meta or not counts.any():
            raise RuntimeError("Codebook: no training batch has passed yet, so there is no usage; call it in train()")
        return usage_of(counts)

    def _counts(self) -> bool:
        if compiling():
            # What is compiled inside a checkpoint would run again within one graph, and its penalties get no gradient
            # there (torch 2.13): this makes torch refuse it, so that without fullgraph the checkpoint stays eager.
            self._assigned = self.seen
        return penalties_enabled() and not (in_transform() or exporting() or in_backward())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        done = state_dict.get(prefix + "done")
        if done is not None and not done.is_meta:
            self.started = bool(done)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Statistics:
        return cast(Statistics, super()._apply(at_least_single(fn), recurse))  # type: ignore[no-untyped-call]  # torch's has no types


def _write(buffer: Tensor, value: Tensor) -> None:
    """Change a buffer, but not in the second run of an activation checkpoint, which compiled code sees as it runs."""
    if compiling():
        value = torch.where(torch.ops.hardgrad.runs_in_backward(buffer), buffer, value.to(buffer.dtype))
    buffer.copy_(value)


def _runs_in_backward(like: Tensor) -> Tensor:
    return torch.full((), in_backward(), dtype=torch.bool, device=like.device)


def _fake(like: Tensor) -> Tensor:
    return torch.empty((), dtype=torch.bool, device=like.device)


def _moved(weight: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return codes that have gone a share of the way to their targets.

    One operator, whose result the compiler keeps. What it sees through it may compute again in the backward, of a
    target and a share that are the next batch's by then: the terms were of codes that had moved (inductor, torch 2.13).
    """
    wide = torch.promote_types(weight.dtype, target.dtype)
    return weight.to(wide).lerp(target.to(wide), share.to(wide).unsqueeze(-1)).to(weight.dtype)


def _like(weight: Tensor, target: Tensor, share: Tensor) -> Tensor:
    return torch.empty_like(weight)


_library = torch.library.Library("hardgrad", "FRAGMENT")
_library.define("runs_in_backward(Tensor like) -> Tensor")
_library.impl("runs_in_backward", _runs_in_backward, "CompositeExplicitAutograd")
torch.library.register_fake("hardgrad::runs_in_backward", _fake, lib=_library)


def at_least_single(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what ``Module._apply`` is to do to tensors that a cast to half precision leaves in single."""

    def applied(tensor: Tensor) -> Tensor:
        result = fn(tensor)
        if not result.is_floating_point():
            return result
        wide = torch.promote_types(result.dtype, torch.float32)
        return result if result.dtype == wide else tensor.to(result.device, wide)

    return applied


_library.define("moved_codes(Tensor weight, Tensor target, Tensor share) -> Tensor")
_library.impl("moved_codes", _moved, "CompositeExplicitAutograd")
torch.library.register_fake("hardgrad::moved_codes", _like, lib=_library)
