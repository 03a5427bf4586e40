"""Our layer in the neurons of other libraries: their ways of calling always, themselves where they install."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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


# ------------------------------------------------------------------------------------------------- the page's table


PAGE = (Path(__file__).parents[1] / "docs" / "guides" / "spiking.md").read_text(encoding="utf-8")
OWNERS = {"snntorch": "surrogate", "spikingjelly": "activation_based.surrogate", "norse": "torch.functional.threshold"}


def _rows() -> list[tuple[str, str, str, str, str, str]]:
    """The library, its call, peak, area, the factor and our call, of each row of the table."""
    found, library = [], ""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 7 and cells[1].startswith("`"):
            library = cells[0].split(" ")[0] or library
            theirs, _, peak, area, times, ours = cells[1:]
            found.append((library, theirs.split("`")[1], peak, area, times, ours.split("`")[1] if times != "-" else ""))
    return found


ROWS = _rows()
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])


def _theirs(library: str, call: str) -> Spike:
    module = import_module(f"{library}.{OWNERS[library]}")
    if library == "norse":
        return lambda x: module.threshold(x, **eval(f"dict({call})"))
    made: Spike = eval(call, {"surrogate": module})
    return made


def _peak_and_area(function: Spike) -> tuple[float, float]:
    edges = torch.cat([torch.zeros(1), torch.logspace(-7, 5, 40_001)]).double()
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    both = derivative(function, middle).nan_to_num(0) + derivative(function, -middle).nan_to_num(0)
    peak = derivative(function, torch.cat([middle, -middle])).nan_to_num(0).amax()
    return peak.item(), (both * width).sum().item()


def _as_printed(function: Spike, times: float, peak: str, area: str) -> None:
    high, wide = _peak_and_area(function)
    assert float(peak) == pytest.approx(times * high, rel=0.05 if float(peak) < 0.01 else 0.005)
    if area == "none":
        assert wide > 1e4, "it ends with the range"
    else:
        assert float(area) == pytest.approx(times * wide, rel=0.05 if float(area) < 0.01 else 0.005)


def test_each_library_has_rows() -> None:
    assert [sum(row[0] == library for row in ROWS) for library in OWNERS] == [9, 10, 5]


@every_row
def test_a_row_of_the_table_has_our_peak_and_area_and_the_derivative_of_the_library(row: tuple[str, ...]) -> None:
    library, call, peak, area, times, ours = row
    if ours:
        _as_printed(eval(f"twins.{ours}"), float(times), peak, area)
    if not find_spec(library):
        return
    if "LSO" in call:
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            _theirs(library, call)(torch.zeros(1))
        return
    theirs = _theirs(library, call)
    z = torch.tensor([-2.9, -1.3, -0.6, -0.21, -0.011, -0.001, 0.001, 0.011, 0.21, 0.6, 1.3, 2.9], dtype=torch.float64)
    if ours:
        expected = float(times) * derivative(eval(f"twins.{ours}"), z)
        torch.testing.assert_close(derivative(theirs, z), expected, rtol=1e-6, atol=1e-9)
    elif area != "none":
        _as_printed(theirs, 1.0, peak, area)


NOTES = {
    "snntorch": "cannot be pickled",
    "spikingjelly": "lif.v_threshold = nn.Parameter",
    "norse": "`alpha` is not used",
}


@pytest.mark.parametrize("library", OWNERS)
def test_what_the_page_says_of_a_library_is_so(library: str) -> None:
    assert NOTES[library] in PAGE
    if not find_spec(library):
        return
    if library == "snntorch":
        seen = derivative(_theirs(library, "surrogate.sigmoid(slope=25)"), torch.tensor([-3.4, -3.6, -10.0]))
        assert seen.isnan().tolist() == [False, True, True]
        seen = derivative(_theirs(library, "surrogate.triangular(threshold=1)"), torch.tensor([-1.0, 0.0, 1.0]))
        assert seen.tolist() == [1.0, -1.0, -1.0]
        with pytest.raises(AttributeError, match="local object"):
            pickle.dumps(import_module("snntorch").Leaky(beta=0.9))
        pickle.dumps(import_module("snntorch").Leaky(beta=0.9, spike_grad=hg.straight_through(hg.hard.step)))
    if library == "spikingjelly":
        lif = import_module("spikingjelly.activation_based.neuron").LIFNode(
            surrogate_function=hg.straight_through(hg.hard.step, twins.leaky())
        )
        lif.v_threshold = nn.Parameter(torch.ones(3))
        lif(torch.ones(2, 3)).sum().backward()
        torch.testing.assert_close(lif.v_threshold.grad, torch.full((3,), -0.2))
    if library == "norse":
        one, other = (_theirs(library, f'method="super", alpha={alpha}') for alpha in (100.0, 1.0))
        assert torch.equal(derivative(one, torch.ones(1)), derivative(other, torch.ones(1)))


BLOCKS = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("library", OWNERS)
def test_the_block_of_a_library_runs(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in BLOCKS if library in block)
    program = compile(block, "docs/guides/spiking.md", "exec")
    if not find_spec(library):
        return
    if library == "norse":
        lif_box = import_module("norse.torch.functional.lif_box")
        monkeypatch.setattr(lif_box, "threshold", lif_box.threshold)  # so that it is put back
    names: dict[str, Any] = {"torch": torch, "spike": hg.straight_through(hg.hard.step, twins.triangle())}
    exec(program, names)
    if library == "snntorch":
        assert names["net"][0].weight.grad.any()
    else:
        assert 0 < names["spikes" if library == "spikingjelly" else "out"].mean() < 1
