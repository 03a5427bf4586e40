"""Scopes: who owns a penalty, what it is called, how often it counts."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from hardgrad.penalty.add import add_penalty
from hardgrad.penalty.scopes import penalties_disabled


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
    with penalties_disabled():
        layer(3 * x).sum().backward()
        with hg.penalties() as bag, penalties_disabled():
            layer(3 * x)
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())
    assert len(bag) == 0
    assert layer.fidelity().relative_error == before.relative_error
    layer(x).sum().backward()
    assert all(p.grad.any() for p in layer.parameters())


# How often the penalty of one forward counts


def _backward_of_each(y: Tensor) -> None:
    y[:, 0].sum().backward(retain_graph=True)
    y[:, 1:].sum().backward()


def _weights(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters())


def _take(layer: nn.Module, gradients: Any) -> None:
    """Add gradients that were asked for to ``grad``, as a loop of one's own does."""
    for weight, gradient in zip(layer.parameters(), gradients, strict=True):
        weight.grad = gradient if weight.grad is None else weight.grad + gradient


def _three_backwards(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    for _ in range(3):
        loss.backward(retain_graph=True)


def _input_asked_first(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    torch.autograd.grad(loss, x, retain_graph=True)
    loss.backward()


def _gradient_penalty(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + (gradient.norm() - 1).square()).backward()


def _weights_asked_first(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    torch.autograd.grad(loss, _weights(layer), retain_graph=True)
    loss.backward()


def _weights_asked_by_each_loss(layer: hg.Bridge, x: Tensor) -> None:
    y = layer(x)
    for loss in (y[:, 0].sum(), y[:, 1:].sum()):
        _take(layer, torch.autograd.grad(loss, _weights(layer), retain_graph=True))


def _each_weight_asked_apart(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    _take(layer, [torch.autograd.grad(loss, weight, retain_graph=True)[0] for weight in layer.parameters()])


def _backward_to_the_input_first(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    loss.backward(inputs=[x], retain_graph=True)
    loss.backward()


def _backward_to_the_weights_twice(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    loss.backward(inputs=_weights(layer), retain_graph=True)
    loss.backward(inputs=_weights(layer))


def _zeroed_between(layer: hg.Bridge, x: Tensor) -> None:
    loss = layer(x).sum()
    loss.backward(retain_graph=True)
    layer.zero_grad()
    loss.backward()


def _unused(layer: hg.Bridge, x: Tensor) -> None:
    layer(x)
    layer(x).sum().backward()


def _graph_of_the_backward(layer: hg.Bridge, x: Tensor) -> None:
    _take(layer, torch.autograd.grad(layer(x).sum(), _weights(layer), create_graph=True))
    assert all(weight.grad.requires_grad for weight in layer.parameters())


def _pulled_twice(layer: hg.Bridge, x: Tensor) -> None:
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    y, pull = torch.func.vjp(lambda w: torch.func.functional_call(layer, w, (x.detach(),)), weights)
    for _ in range(2):
        _take(layer, pull(torch.ones_like(y))[0].values())


def _second_derivative(layer: hg.Bridge, x: Tensor) -> None:
    weights = {name: w.detach() for name, w in layer.named_parameters()}

    def loss(w: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, w, (x.detach(),)).sum()

    # The derivative of a square of gradients needs the penalty in both of two nested passes.
    squares = torch.func.grad(lambda w: sum(g.square().sum() for g in torch.func.grad(loss)(w).values()))(weights)
    assert all(square.any() for square in squares.values())
    _take(layer, torch.func.grad(loss)(weights).values())


def _in_a_scope(layer: hg.Bridge, x: Tensor) -> None:
    with hg.penalties() as bag:
        y = layer(x)
    _three = [y.sum().backward(retain_graph=True) for _ in range(3)]
    bag.total().backward()


SITUATIONS: dict[str, tuple[int, Callable[[hg.Bridge, Tensor], Any]]] = {
    "one backward": (1, lambda layer, x: layer(x).sum().backward()),
    "a loss of zero": (1, lambda layer, x: (layer(x) * 0).sum().backward()),
    "two losses, a backward apiece": (1, lambda layer, x: _backward_of_each(layer(x))),
    "three backwards of one loss": (1, _three_backwards),
    "a look at the input's gradient first": (1, _input_asked_first),
    "a gradient penalty": (1, _gradient_penalty),
    "a look at the weights' gradient first": (1, _weights_asked_first),
    "the weights' gradient asked for by each loss": (1, _weights_asked_by_each_loss),
    "each weight's gradient asked for apart": (1, _each_weight_asked_apart),
    "backward to the input first": (1, _backward_to_the_input_first),
    "backward to the weights twice": (1, _backward_to_the_weights_twice),
    "gradients zeroed between two backwards": (0, _zeroed_between),
    "two forwards accumulated": (2, lambda layer, x: [layer(x).sum().backward() for _ in range(2)]),
    "two calls in one loss": (2, lambda layer, x: (layer(x) + layer(x)).sum().backward()),
    "two calls, two losses": (2, lambda layer, x: _backward_of_each(layer(x) + layer(x))),
    "a call whose output nobody uses": (1, _unused),
    "the graph of the backward": (1, _graph_of_the_backward),
    "checkpoint": (1, lambda layer, x: checkpoint(layer, x, use_reentrant=False).sum().backward()),
    "checkpoint, two losses": (1, lambda layer, x: _backward_of_each(checkpoint(layer, x, use_reentrant=False))),
    "reentrant checkpoint": (1, lambda layer, x: checkpoint(layer, x, use_reentrant=True).sum().backward()),
    "reentrant checkpoint, two losses": (
        2,
        lambda layer, x: _backward_of_each(checkpoint(layer, x, use_reentrant=True)),
    ),
    "a pull of torch.func.vjp, twice": (2, _pulled_twice),
    "nested torch.func.grad": (1, _second_derivative),
    "a scope": (1, _in_a_scope),
}


@pytest.mark.parametrize("conditioning", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_penalty_of_a_forward_counts_once(situation: str, conditioning: bool) -> None:
    count, run = SITUATIONS[situation]
    if conditioning and run is _gradient_penalty:
        count, run = SITUATIONS["one backward"]  # the gradient at the input holds the penalty's then, weights and all
    layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4, hidden=(8,)), conditioning=conditioning).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    expected = torch.autograd.grad(penalty_by_hand(layer, x), list(layer.parameters()))
    run(layer, x.clone().requires_grad_())
    for weight, once in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(weight) if weight.grad is None else weight.grad, count * once)


def test_a_conditioned_input_gets_the_penalty_once() -> None:
    layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4), conditioning=True)
    x = torch.randn(5, 4, requires_grad=True)
    found = []
    for losses in (lambda y: [y.sum()], lambda y: [y[:, 0].sum(), y[:, 1:].sum()]):
        y = layer(x)
        found.append(sum(torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in losses(y)))
    torch.testing.assert_close(found[0], found[1])


def test_the_penalty_of_a_baseline_counts_once() -> None:
    baseline, logits = nn.Linear(3, 1), torch.randn(6, 3, requires_grad=True)
    found = []
    for apiece in (False, True):
        baseline.zero_grad()
        torch.manual_seed(1)
        q = Independent(Bernoulli(logits=logits), 1)
        loss = hg.score_function(q, lambda b: b.sum(-1), baseline=nn.Sequential(baseline, nn.Flatten(0)))
        for part in (loss[:2], loss[2:]) if apiece else (loss,):
            part.sum().backward(retain_graph=True)
        found.append(baseline.weight.grad.clone())
    torch.testing.assert_close(found[0], found[1])


def test_a_penalty_rides_through_a_compiled_transform() -> None:
    """Of any kind: the transform's own input as the path, derivatives of derivatives, rows."""
    module, x = nn.Linear(4, 1), torch.randn(3, 4)

    def loss(w: Tensor) -> Tensor:
        return (5 * add_penalty(module, w, (x @ w).square().sum())).sum()

    def square(w: Tensor) -> Tensor:
        return torch.func.grad(loss)(w).square().sum()

    w, rows, gram = torch.randn(4), torch.randn(2, 4), x.T @ x
    by_hand = {
        torch.func.grad(loss): (w, 5 + 2 * gram @ w),
        torch.func.grad(square): (w, 4 * gram @ (5 + 2 * gram @ w)),
        torch.vmap(torch.func.grad(loss)): (rows, 5 + 2 * rows @ gram),
        torch.func.grad(lambda rows: torch.vmap(loss)(rows).sum()): (rows, 5 + 2 * rows @ gram),
    }
    for transform, (given, expected) in by_hand.items():
        torch.compiler.reset()
        torch.testing.assert_close(transform(given), expected)
        torch.testing.assert_close(torch.compile(transform, backend="eager", fullgraph=True)(given), expected)


# Threads


def in_a_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def trains_itself(layer: hg.Bridge, x: Tensor) -> bool:
    layer.zero_grad()
    (layer(x) * 0).sum().backward()
    return all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())


@pytest.mark.parametrize("compiled", [False, True])
def test_a_thread_started_in_a_scope_belongs_to_it(compiled: bool) -> None:
    model, x, errors = nn.Sequential(nn.Linear(4, 4), bridge()), torch.randn(5, 4), []
    run = torch.compile(model, backend="eager") if compiled else model

    def work() -> None:
        try:
            (run(x).sum() * 0).backward()
        except Exception as error:
            errors.append(error)

    with hg.penalties(model) as bag:
        in_a_thread(work).join()
    assert errors == []
    assert [name for name, _ in bag] == ["1"]
    assert all(p.grad is None for p in model[1].parameters())


def test_a_thread_that_runs_already_is_not_touched() -> None:
    layer, x, found = bridge(), torch.randn(5, 4), []
    go = threading.Event()
    thread = in_a_thread(lambda: go.wait() and found.append(trains_itself(layer, x)))
    with hg.penalties() as bag:
        go.set()
        thread.join()
    assert found == [True]
    assert len(bag) == 0


def test_a_thread_that_outlives_its_scope_leaves_it() -> None:
    layer, x, found = bridge(), torch.randn(5, 4), []
    started, go = threading.Event(), threading.Event()

    def work() -> None:
        layer(x)
        started.set()
        go.wait()
        found.append(trains_itself(layer, x))

    with hg.penalties() as outer:
        with hg.penalties() as inner:
            thread = in_a_thread(work)
            started.wait()
        layer(x)
    with hg.penalties() as later:
        go.set()
        thread.join()
    assert [len(bag) for bag in (outer, inner, later)] == [1, 1, 0]
    assert found == [True]


def test_two_threads_with_scopes_of_their_own_do_not_mix() -> None:
    layers, barrier, found = [bridge(), bridge()], threading.Barrier(2), {}

    def work(number: int) -> None:
        for _ in range(20):
            with hg.penalties() as bag:
                barrier.wait()
                layers[number](torch.randn(5, 4))
                barrier.wait()
            found.setdefault(number, []).append(bag.modules() == [layers[number]])

    with hg.penalties() as outside:
        for thread in [in_a_thread(lambda n=n: work(n)) for n in range(2)]:
            thread.join()
    assert found == {0: [True] * 20, 1: [True] * 20}
    assert len(outside) == 0


@pytest.mark.parametrize("named", [False, True])
def test_a_thread_that_two_scopes_claim_asks_whose_it_is(named: bool) -> None:
    layers, x = [bridge(), bridge()], torch.randn(5, 4)
    opened, done, bags, said = threading.Barrier(3), threading.Event(), {}, []

    def owner(number: int) -> None:
        with hg.penalties(layers[number] if named else None) as bag:
            bags[number] = bag
            opened.wait()
            done.wait()

    def guest() -> None:
        try:
            layers[1](x)
        except RuntimeError as error:
            said.append(str(error))

    owners = [in_a_thread(lambda n=n: owner(n)) for n in range(2)]
    opened.wait()
    in_a_thread(guest).join()
    done.set()
    for thread in owners:
        thread.join()
    assert [len(bags[number]) for number in range(2)] == [0, int(named)]
    assert len(said) == (not named)
    assert named or "penalties(model)" in said[0]


def test_a_thread_started_unheard_is_unheard() -> None:
    layer, x, found = bridge(), torch.randn(5, 4), []
    with hg.penalties() as bag, penalties_disabled():
        in_a_thread(lambda: found.append(trains_itself(layer, x))).join()
    assert found == [False]
    assert len(bag) == 0


def _replica_of(module: nn.Module) -> Any:
    """What ``nn.parallel.replicate`` makes for a device: a copy whose weights are computed from the model's."""
    replica = module._replicate_for_data_parallel()
    for name, child in module._modules.items():
        replica._modules[name] = _replica_of(child)
    for name, weight in module._parameters.items():
        setattr(replica, name, None if weight is None else weight * 1)
    return replica


def test_replicas_of_a_layer_are_one_in_the_bag() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), bridge(), bridge()), torch.randn(6, 4)
    found, expected = [], []
    for bag_of in (lambda: hg.penalties(), lambda: hg.penalties(model)):
        with bag_of() as bag:
            threads = [in_a_thread(partial(_replica_of(model), rows)) for rows in x.chunk(2)]
            for thread in threads:
                thread.join()
        found.append({name: penalty.item() for name, penalty in bag})
        assert len(bag) == len(bag.modules()) == 2
        with bag_of() as bag:
            for rows in x.chunk(2):
                model(rows)
        expected.append({name: penalty.item() for name, penalty in bag})
    assert found == [pytest.approx(e, rel=1e-5) for e in expected]


def test_replicas_train_the_model_as_it_trains_itself() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), bridge()), torch.randn(6, 4)
    again = copy.deepcopy(model)
    for rows in x.chunk(2):
        _replica_of(model)(rows).sum().backward()
        again(rows).sum().backward()
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


# Sums and names


def test_a_sum_is_of_the_widest_precision() -> None:
    bag, layers = hg.Penalties(), [nn.Linear(1, 1) for _ in range(3)]
    for layer, value in zip(layers, [60000.0, 60000.0, 1.0], strict=True):
        bag.add(layer, torch.tensor(value, dtype=torch.float16))
    assert bag.total().dtype == torch.float32
    assert bag.total().item() == 120001.0 - 1 + 1  # far above fp16's 65,504
    bag.add(layers[0], torch.tensor(1e-12, dtype=torch.float64))
    assert bag.total().item() == 120001.0 + 1e-12


def test_two_models_that_use_one_name_keep_both() -> None:
    first, second, x = (
        nn.Sequential(nn.Linear(4, 4), bridge()),
        nn.Sequential(nn.Linear(4, 4), bridge()),
        torch.randn(3, 4),
    )
    with hg.penalties() as bag:
        second(first(x))
    assert [name for name, _ in bag] == ["1", "1_1"]
    torch.testing.assert_close(sum(dict(bag).values()), bag.total())


def test_a_penalty_does_not_outlive_its_transform() -> None:
    torch.manual_seed(0)
    layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(3, 3, hidden=(4,))).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    with hg.penalties() as bag:
        torch.func.vmap(layer)(x)
        for use in (bag.total, lambda: dict(bag)):
            with pytest.raises(RuntimeError, match=r"penalties: .* torch.func transform .* open the scope inside"):
                use()

    def penalty(rows: Tensor) -> Tensor:
        with hg.penalties() as inside:
            layer(rows)
            return inside.total()

    found = torch.func.vmap(penalty)(x)
    want = [10 / 4 * (layer.approximator(rows) - rows.sign()).square().sum() for rows in x]
    torch.testing.assert_close(found, torch.stack(want))
