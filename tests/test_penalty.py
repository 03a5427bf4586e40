"""Scopes: who owns a penalty, what it is called, how often it counts."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import hardgrad as hg
from hardgrad.penalty import unheard


def bridge(width: int = 4) -> hg.Bridge:
    return hg.Bridge(hg.hard.sign, hg.approximators.mlp(width, width, hidden=(8,)))


def penalty_by_hand(layer: hg.Bridge, x: torch.Tensor) -> torch.Tensor:
    return 10 * (layer.approximator(x) - torch.sign(x)).pow(2).sum(1).mean()


def test_names_are_the_models_own() -> None:
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(4, 4), bridge()), "head": bridge()})
    model.forward = lambda x: model["head"](model["encoder"](x))
    with hg.penalties() as bag:
        model(torch.randn(3, 4))
    assert [name for name, _ in bag] == ["encoder.1", "head"]


def test_parts_called_apart_and_wrappers_are_named_too() -> None:
    encoder, layer = nn.Sequential(nn.Linear(4, 4), bridge()), bridge()
    with hg.penalties() as bag:
        layer(encoder(torch.randn(3, 4)))
    assert [name for name, _ in bag] == ["1", "bridge_1"]
    compiled = torch.compile(encoder, backend="eager")
    with hg.penalties(compiled) as bag:
        compiled(torch.randn(3, 4))
    assert [name for name, _ in bag] == ["1"]


def test_penalty_is_the_formula_and_calls_are_summed() -> None:
    layer, x, z = bridge(), torch.randn(5, 4), torch.randn(3, 4)
    with hg.penalties(nn.Sequential(layer)) as bag:
        layer(x)
        layer(z)
    expected = penalty_by_hand(layer, x) + penalty_by_hand(layer, z)
    torch.testing.assert_close(bag.total(), expected)
    torch.testing.assert_close(dict(bag)["0"], expected)
    assert len(bag) == 1


def test_owned_penalty_trains_nothing_until_added() -> None:
    layer, x = bridge(), torch.randn(5, 4, requires_grad=True)
    with hg.penalties() as bag:
        layer(x).sum().backward(retain_graph=True)  # the two share a graph
    assert all(p.grad is None for p in layer.parameters())
    bag.total().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_innermost_scope_collects_and_the_outer_one_returns() -> None:
    layer, x = bridge(), torch.randn(5, 4)
    with hg.penalties() as outer:
        with hg.penalties() as inner:
            layer(x)
        layer(x)
    assert (len(inner._items), len(outer._items)) == (1, 1)
    layer(x).sum().backward()  # no scope is left open
    assert all(p.grad is not None for p in layer.parameters())


def test_scope_closes_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="user"), hg.penalties():
        raise RuntimeError("user")
    layer = bridge()
    layer(torch.randn(5, 4)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_scopes_of_other_threads_are_not_touched() -> None:
    layer, x = bridge(), torch.randn(5, 4)
    with hg.penalties() as bag:
        thread = threading.Thread(target=lambda: layer(x))
        thread.start()
        thread.join()
    assert len(bag) == 0


def test_empty_bag_totals_zero() -> None:
    with hg.penalties() as bag:
        pass
    assert bag.total().item() == 0.0
    assert list(bag) == []


def test_names_survive_compilation_of_the_whole_step() -> None:
    model = nn.Sequential(nn.Linear(4, 4), bridge())

    def step(x: torch.Tensor) -> torch.Tensor:
        return model(x).sum()

    with hg.penalties(model) as bag:
        torch.compile(step, fullgraph=True, backend="aot_eager")(torch.randn(3, 4))
    assert [name for name, _ in bag] == ["1"]


def test_reentrant_checkpoint_in_a_scope_trains_itself() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), bridge()), torch.randn(5, 4, requires_grad=True)
    with hg.penalties() as bag:
        torch.utils.checkpoint.checkpoint(model, x, use_reentrant=True).sum().backward()
    assert len(bag) == 0
    assert all(p.grad.abs().sum() > 0 for p in model[1].parameters())


def test_an_unheard_call_neither_trains_nor_is_collected() -> None:
    layer, x = hg.Bridge(hg.hard.sign, hg.approximators.mlp(2, 2)), torch.randn(3, 2, requires_grad=True)
    layer(x)
    before = layer.fidelity()
    with unheard():
        layer(3 * x).sum().backward()
        with hg.penalties() as bag, unheard():
            layer(3 * x)
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())
    assert len(bag) == 0
    assert layer.fidelity().relative_error == before.relative_error
    layer(x).sum().backward()
    assert all(p.grad.any() for p in layer.parameters())
