"""Loops along time, row by row: one C text on the CPU and the GPU, the same in Python, operators, and Functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from hardgrad._torch_state import has_numbers
from hardgrad.devices.native import call, native, on_gpu

# What every text begins with: EACH row is a thread on a GPU, and one after the other elsewhere.
PRELUDE = r"""
typedef long long whole;
#ifdef __CUDACC__
typedef int count; /* what torch hands over */
#define STEP static __device__ inline
#define ENTRY extern "C" __global__ void
#define EACH(i, rows) whole i = blockIdx.x * (whole)blockDim.x + threadIdx.x; if (i < rows)
#else
#include <math.h>
typedef whole count;
#define STEP static inline
#define ENTRY void
#define EACH(i, rows) for (whole i = 0; i < rows; i++)
#endif
/* Below that nothing is heard, and what decays on would be subnormal at last, twenty times slower: its end is 0. */
#define TINY(v) (fabs(v) < 1e-150)
typedef const double *in;
typedef double *out;

STEP double toward(double now, double v, double c) {
    double rise = v - now, next = now + c * rise;
    return (c == 1.0) | TINY(rise) ? v : next;
}
"""


def toward(now: float, v: float, c: float) -> float:
    """Return the next value of one pole: exactly v where the coefficient is 1 or v is as good as there."""
    rise = v - now
    return v if c == 1.0 or -1e-150 < rise < 1e-150 else now + c * rise


class Loop(NamedTuple):
    """One C text after the prelude, and its entries in Python, which take and return what belongs to one row."""

    name: str
    text: str
    python: dict[str, Callable[..., Any]]

    def run(self, entry: str, given: list[Tensor], tails: list[Any], made: list[Tensor], each: int = 0) -> None:
        """Fill ``made`` from ``given``, float64 all, given[i] of shape (rows, *tails[i]), given[0] of (rows, samples).

        ``each``: how many loops a row is run through; 0 is one, and C is not told.
        """
        x = given[0]
        if any(
            g.dtype != torch.float64 or g.device != x.device or g.shape != (x.shape[0], *tail)
            for g, tail in zip(given, tails, strict=True)
        ):
            found = ", ".join(f"{g.dtype} {tuple(g.shape)} on {g.device}" for g in given)
            raise ValueError(f"{self.name}: all tensors must be float64, of x's rows and on its device, got {found}")
        if not (has_numbers(x) and x.shape[0]):
            return
        given, sizes = [g.contiguous() for g in given], [*x.shape, *([each] if each else [])]
        threads = x.shape[0] * (each or 1)
        if x.is_cuda and max(x.shape) < 2**31 and (kernel := on_gpu(PRELUDE + self.text, entry, x.device)) is not None:
            with torch.cuda.device(x.device):
                kernel(grid=(-(-threads // 32), 1, 1), block=(32, 1, 1), args=[*given, *made, *sizes])
        elif x.device.type != "cpu":
            aside = [m.cpu() for m in made]
            self.run(entry, [g.cpu() for g in given], tails, aside, each)
            for m, there in zip(made, aside, strict=True):
                m.copy_(there)
        elif (library := native(PRELUDE + self.text, self.name)) is not None:
            call(getattr(library, entry), *given, *made, *sizes)
        else:
            for number, row in enumerate(zip(*(g.tolist() for g in given), strict=True)):
                for m, found in zip(made, self.python[entry](*row), strict=True):
                    m[number] = torch.tensor(found, dtype=torch.float64)


_library = torch.library.Library("hardgrad", "FRAGMENT")


def operator(form: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function ``torch.ops.hardgrad.<name>``, one node of a graph; by hand, as ``no_gradient`` says."""

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:
        name = form.partition("(")[0]
        _library.define(form)
        _library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"hardgrad::{name}", function, lib=_library)
        return function

    return registered


class OverRows(torch.autograd.Function):
    """A Function of rows: all samples of a ``vmap`` are rows, too."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        many = info.batch_size
        given = [
            (x.expand(many, *x.shape) if at is None else x.movedim(at, 0)) if isinstance(x, Tensor) else x
            for x, at in zip(inputs, in_dims, strict=True)
        ]
        made: Any = cast(Any, cls).apply(*(x.flatten(0, 1) if isinstance(x, Tensor) else x for x in given))
        made = cast(Any, cls).apply(*(x.flatten(0, 1) if isinstance(x, Tensor) else x for x in given))
        apart = [x.unflatten(0, (many, given[0].shape[1])) for x in ([made] if isinstance(made, Tensor) else made)]
        return (apart[0], 0) if isinstance(made, Tensor) else (tuple(apart), (0,) * len(apart))


class Once(OverRows):
    """A gradient that is computed once, of tensors and then others, the last the owner: a second one is refused."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [each for each in inputs if isinstance(each, Tensor)]
        ctx.save_for_backward(*tensors)
        ctx.owner, ctx.others = inputs[-1], len(inputs) - len(tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if type(grads[0]) is Tensor:
            raise RuntimeError(f"{ctx.owner}: its gradient cannot be differentiated again, since it is computed once")
        # A compiler asks what nobody may want: that is no number, and what wants one sees it.
        return *(torch.full_like(each, torch.nan) for each in ctx.saved_tensors), *[None] * ctx.others
