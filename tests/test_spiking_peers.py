"""Our layer in the neurons of other libraries: their ways of calling always, themselves where they install."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.surrogate import twins

Spike = Callable[[Tensor], Tensor]
STEPS = 2
TWINS = {
    "fast_sigmoid": twins.fast_sigmoid(5.0), "triangle": twins.triangle(), "rectangle": twins.rectangle(),
    "gaussian": twins.gaussian(), "leaky": twins.leaky(), "arctan": twins.arctan(2.0),
}  # fmt: skip


class Subtracting(nn.Module):
    """snntorch's way: the spike before is subtracted, without a gradient, and its layer is an attribute."""

    def __init__(self, spike_grad: Spike) -> None:
        super().__init__()
        self.spike_grad = spike_grad

    def forward(self, x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        mem = 0.9 * mem + x - self.spike_grad(mem - 1.0).clone().detach()
        return self.spike_grad(mem - 1.0), mem


class Resetting(nn.Module):
    """spikingjelly's way: a spike sets the membrane, which the neuron keeps, to zero, gradient and all."""

    def __init__(self, surrogate_function: Spike, share: float = 0.5) -> None:
        super().__init__()
        self.surrogate_function, self.share = surrogate_function, share
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v + (0.0 - self.v + x) * self.share
        spike = self.surrogate_function(self.v - 1.0)
        self.v = spike * 0.0 + (1.0 - spike) * self.v
        return spike


def subtracting(neuron: Any, x: Tensor) -> Tensor:
    spikes, mem = [], torch.zeros_like(x[0])
    for row in x:
        spike, mem = neuron(row, mem)
        spikes.append(spike)
    return torch.stack(spikes)


def snntorch(spike: Spike, x: Tensor) -> Tensor:
    import snntorch as snn

    return subtracting(snn.Leaky(beta=0.9, spike_grad=spike), x)


def spikingjelly(spike: Spike, x: Tensor) -> Tensor:
    from spikingjelly.activation_based import neuron

    single = neuron.LIFNode(surrogate_function=spike)
    spikes = torch.stack([single(row) for row in x])
    assert torch.equal(neuron.LIFNode(surrogate_function=spike, step_mode="m")(x), spikes)
    return spikes


def norse(spike: Spike, x: Tensor) -> Tensor:
    from norse.torch.functional import lif_box

    with pytest.MonkeyPatch.context() as patch:  # norse takes a word, not a function
        patch.setattr(lif_box, "threshold", lambda v, method, alpha: spike(v))
        spikes, state = [], lif_box.LIFBoxFeedForwardState(v=torch.zeros_like(x[0]))
        for row in x:
            out, state = lif_box.lif_box_feed_forward_step(row, state, lif_box.LIFBoxParameters(), dt=0.005)
            spikes.append(out)
    return torch.stack(spikes)


def _of_conventions() -> dict[str, tuple[Callable[[Spike, Tensor], Tensor], bool]]:
    """How to run a sequence, and whether a spike resets to zero."""
    ways: dict[str, tuple[Callable[[Spike, Tensor], Tensor], bool]] = {
        "subtracts": (lambda spike, x: subtracting(Subtracting(spike), x), False),
        "resets": (lambda spike, x: torch.stack(list(map(Resetting(spike), x))), True),
    }
    for run, resets in ((snntorch, False), (spikingjelly, True), (norse, True)):
        if find_spec(run.__name__):
            ways[run.__name__] = run, resets
    return ways


WAYS = _of_conventions()


def derivative(twin: Spike, z: Tensor) -> Tensor:
    z = z.detach().clone().requires_grad_()
    return torch.autograd.grad(twin(z).sum(), z)[0]


def by_hand(twin: Spike, x: Tensor, upstream: Tensor, resets: bool) -> tuple[Tensor, Tensor]:
    """Spikes, and the gradient of their sum weighted by ``upstream``, by the chain rule written out backwards."""
    decay, gain = (0.5, 0.5) if resets else (0.9, 1.0)
    mem, spikes, before = torch.zeros_like(x[0]), [], []
    for row in x:
        if resets and spikes:
            mem = torch.where(spikes[-1] == 1, torch.zeros_like(mem), mem)
        mem = decay * mem + gain * row
        if not resets and spikes:
            mem = mem - spikes[-1]
        before.append(mem)
        spikes.append((mem >= 1).to(x))
    grad, into = torch.zeros_like(x), torch.zeros_like(x[0])
    for t in reversed(range(len(x))):
        slope = derivative(twin, before[t] - 1)
        kept = 1 - spikes[t] - before[t] * slope if resets else torch.ones_like(slope)
        here = upstream[t] * slope + into * kept  # into the membrane at t: by its spike, and by the next step
        grad[t], into = gain * here, decay * here
    return torch.stack(spikes), grad


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TWINS)
def test_a_neuron_of_two_steps_has_the_gradient_of_the_chain_rule_by_hand(way: str, name: str) -> None:
    run, resets = WAYS[way]
    generator = torch.Generator().manual_seed(3)
    x = 1.2 + torch.randn(STEPS, 4, 25, generator=generator)
    upstream = torch.randn(STEPS, 4, 25, generator=generator)
    expected, grad = by_hand(TWINS[name], x, upstream, resets)
    assert 0.2 < expected.mean() < 0.8
    x.requires_grad_()
    spikes = run(hg.straight_through(hg.hard.step, TWINS[name]), x)
    assert torch.equal(spikes, expected)
    (spikes * upstream).sum().backward()
    torch.testing.assert_close(x.grad, grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [Subtracting, Resetting])
def test_the_layer_is_a_part_of_the_neuron_without_weights(make: Callable[[Spike], nn.Module]) -> None:
    neuron = make(hg.straight_through(hg.hard.step, twins.triangle()))
    assert list(neuron.state_dict()) == list(neuron.parameters()) == []
    copied: Any = copy.deepcopy(neuron).eval()
    (layer,) = copied.children()
    assert not layer.training
    with pytest.warns(UserWarning, match=r"in eval\(\) no gradient passes"):
        layer(torch.zeros(3, requires_grad=True)).sum().backward()
