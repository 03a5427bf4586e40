"""A network of one number, at many places: both tracks in pieces that stay in the cache.

Each place's derivative is one number, a'(x), so one backward pass serves both tracks: it starts from ones, and what
flows back to ``x`` or into the weights is that times the track's own cotangent. Nothing as wide as the network is kept:
the backward computes a piece again, which costs less than to write it to memory and to read it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import holds_a_batch, readable
from hardgrad.two_track.plain import parts_of

Chain = tuple[nn.Module, ...]
Weights = Sequence[Tensor | None]  # weight and bias of each linear layer of a chain, in order

_PIECE = 1 << 16  # numbers as wide as the network, 256 KiB in single precision: a few such lie in a core's own cache
_aten = torch.ops.aten
# The usual activations' cotangent of the input, from that of the output, input and output. Autograd's own kernels: to
# ask autograd itself, piece by piece, gains nothing over a walk.
_BACK: dict[type[nn.Module], Callable[[Any, Tensor, Tensor, Tensor], Tensor]] = {
    nn.Identity: lambda layer, back, h, y: back,
    nn.ELU: lambda layer, back, h, y: _aten.elu_backward(back, layer.alpha, 1, 1, False, h),
    nn.GELU: lambda layer, back, h, y: _aten.gelu_backward(back, h, approximate=layer.approximate),
    nn.ReLU: lambda layer, back, h, y: _aten.threshold_backward(back, y, 0),
    nn.Sigmoid: lambda layer, back, h, y: _aten.sigmoid_backward(back, y),
    nn.SiLU: lambda layer, back, h, y: _aten.silu_backward(back, h),
    nn.Softplus: lambda layer, back, h, y: _aten.softplus_backward(back, h, layer.beta, layer.threshold),
    nn.Tanh: lambda layer, back, h, y: _aten.tanh_backward(back, y),
}


def chain_of(module: nn.Module, x: Tensor) -> Chain:
    """Return the layers of a known network of one number, its shapes left out; none if this cannot run it.

    On a CPU and in eager code alone, where it was measured.
    """
    if type(x) is not Tensor or not readable(x) or torch.is_autocast_enabled("cpu"):
        return ()
    parts = parts_of(module)
    if [type(part).__name__ for part in (*parts[:1], *parts[-1:])] != ["Unsqueeze", "Squeeze"]:
        return ()
    linear = [part for part in parts if type(part) is nn.Linear]
    ends = linear and (linear[0].in_features, linear[-1].out_features) == (1, 1)
    others = {type(part) for part in parts[1:-1]} - {nn.Linear}
    alike = x.dtype in (torch.float32, torch.float64) and all(p.dtype == x.dtype for p in module.parameters())
    return tuple(parts[1:-1]) if ends and others <= _BACK.keys() and alike else ()


def at_places(chain: Chain, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tracks through a network of which ``chain_of`` gave the layers."""
    weights = [w for layer in chain if type(layer) is nn.Linear for w in (layer.weight, layer.bias)]
    return cast("tuple[Tensor, Tensor]", cast(Any, _Places).apply(chain, task, learn, *weights))


class _Places(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chain: Chain, task: Tensor, learn: Tensor, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.chain = chain
        ctx.columns = max(1, _PIECE // max(w.shape[0] for w in weights if w is not None))
        ctx.save_for_backward(task, learn, *weights)
        ctx.set_materialize_grads(False)
        y = torch.cat([_run(chain, x, weights)[-1] for x in _pieces(ctx, learn)], 1).view(learn.shape)
        return y, y.view_as(y)

    @staticmethod
    def backward(ctx: Any, to_lend: Tensor | None, to_learn: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled() or any(g is not None and holds_a_batch(g) for g in (to_lend, to_learn)):
            return None, *_plainly(ctx, to_lend, to_learn)
        _, learn, *weights = ctx.saved_tensors
        _, lends, conditions, *learns = ctx.needs_input_grad
        sums = [
            torch.zeros_like(w) if asked and w is not None and to_learn is not None else None
            for w, asked in zip(weights, learns, strict=True)
        ]
        pairs = zip(_pieces(ctx, learn), _pieces(ctx, learn if to_learn is None else to_learn), strict=True)
        slopes = [_slope(ctx.chain, x, cotangent, weights, sums) for x, cotangent in pairs]
        slope = torch.cat(slopes, 1).view(learn.shape)
        lend = slope * to_lend if lends and to_lend is not None else None
        return None, lend, slope * to_learn if conditions and to_learn is not None else None, *sums


def _pieces(ctx: Any, places: Tensor) -> tuple[Tensor, ...]:
    return cast("tuple[Tensor, ...]", cast(Any, places.reshape(1, -1)).split(ctx.columns, 1))


def _run(chain: Chain, x: Tensor, weights: Weights) -> list[Tensor]:
    """Return what each layer gives, after the input itself; a column is a place, which suits narrow networks."""
    own, values = iter(weights), [x]
    for layer in chain:
        values.append(_linear(next(own), next(own), values[-1]) if type(layer) is nn.Linear else layer(values[-1]))
    return values


def _linear(weight: Tensor | None, bias: Tensor | None, h: Tensor) -> Tensor:
    weight = cast(Tensor, weight)
    return weight @ h if bias is None else torch.addmm(bias.unsqueeze(1), weight, h)


def _slope(chain: Chain, x: Tensor, cotangent: Tensor, weights: Weights, sums: list[Tensor | None]) -> Tensor:
    """Return a'(x), (1, n), and add to ``sums`` what the weights get, where they are asked for."""
    values = _run(chain, x, weights)
    back = torch.ones_like(values[-1])
    at = len(weights)
    for layer in reversed(chain):
        y, h = values.pop(), values[-1]
        if type(layer) is not nn.Linear:
            back = _BACK[type(layer)](layer, back, h, y)
            continue
        at -= 2
        weight_sum, bias_sum = sums[at : at + 2]
        if weight_sum is not None:
            weight_sum.addmm_(back, (h * cotangent).T)
        if bias_sum is not None:
            bias_sum.addmv_(back, cotangent.squeeze(0))
        back = cast(Tensor, weights[at]).T @ back
    return back


def _plainly(ctx: Any, to_lend: Tensor | None, to_learn: Tensor | None) -> list[Tensor | None]:
    """The same by plain autograd, for a derivative of the derivative and for many cotangents at once."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, since hooks of the tensors themselves run in the pass around this one.
        inputs = [None if t is None else t.view_as(t) for t in ctx.saved_tensors]
        task, learn, *weights = cast("list[Any]", inputs)
        frozen = [None if w is None else w.detach() for w in weights]
        tracks = [
            (_run(ctx.chain, x.reshape(1, -1), w)[-1].view(x.shape), cotangent)
            for x, w, cotangent in ((task, frozen, to_lend), (learn, weights, to_learn))
            if cotangent is not None
        ]
    needs = ctx.needs_input_grad[1:]
    places = cast("list[Tensor]", [place for place, asked in zip(inputs, needs, strict=True) if asked])
    outputs, cotangents = zip(*[pair for pair in tracks if pair[0].requires_grad], strict=True)
    found = iter(torch.autograd.grad(outputs, places, cotangents, create_graph=again, allow_unused=True))
    return [next(found) if asked else None for asked in needs]
