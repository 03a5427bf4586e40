"""Two tracks are one network: plain autograd's gradients, whatever the module, in every mode."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from approximator_bank import BANK, Apply, Counting, a_global_hook, between
from hardgrad.two_track import lends, places, two_tracks
from hardgrad.two_track.places import chain_of
from hardgrad.two_track.plain import is_known
from two_track_product import build, compiled, differences, ours, penalty, plain, task

# Dynamo looks at every tensor that comes into a graph, and after a break those are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.mark.parametrize("name", BANK)
def test_both_tracks_are_plain_autograds(name: str) -> None:
    """Values, both gradients, buffers, counters and random states, after two steps."""
    assert differences(ours(BANK[name]), plain(BANK[name])) == []


# One of each way through compiled code; ``python -m two_track_product`` is the whole product.
@pytest.mark.parametrize(
    ("name", "backend", "breaks"),
    [
        ("mlp", "aot_eager", True),
        ("Dropout", "aot_eager", False),
        ("BatchNorm1d", "eager", True),
        ("functional noise", "eager", False),
        ("data-dependent", "aot_eager", False),
        ("backward hook", "eager", False),
        ("PReLU", "eager", False),
        ("unregistered weight", "eager", False),
        ("bridge inside, conditioned", "eager", True),
    ],
)
def test_compiled_tracks_are_plain_autograds(name: str, backend: str, breaks: bool) -> None:
    torch.compiler.reset()
    assert differences(ours(BANK[name], compiled(backend), breaks), plain(BANK[name]), 1e-6) == []


def test_the_common_makes_are_walked() -> None:
    """And what looks like them is not."""
    fine = between(nn.Tanh(), nn.Dropout(0.5), nn.Sequential(nn.ELU()))
    assert is_known(fine)
    assert is_known(hg.approximators.mlp(4, 4))
    assert is_known(hg.approximators.elementwise())
    assert is_known(hg.approximators.suggest(hg.hard.sign, torch.randn(5, 4)))
    for name in ("forward hook", "backward hook", "forward replaced", "accelerate", "parametrized", "pruned"):
        assert not is_known(BANK[name].make()), name
    with a_global_hook():
        assert not is_known(fine)
    assert is_known(fine)
    fine[2].inplace = True
    assert not is_known(fine)


def test_every_make_of_the_library_is_in_the_bank() -> None:
    makes = {name for name, make in vars(hg.approximators).items() if inspect.isfunction(make)} - {"suggest"}
    assert len(makes) > 3
    assert {*makes, "suggested"} <= BANK.keys()


def test_a_class_whose_forward_was_replaced_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    network = between(nn.Tanh())
    assert is_known(network)
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x.sin())
    assert not is_known(network)


def test_a_hook_for_all_modules_is_heeded() -> None:
    entry = BANK["mlp"]
    bare = ours(entry)
    with a_global_hook():
        hooked = ours(entry)
        assert differences(hooked, plain(entry)) == []
    assert differences(hooked, bare)


# Derivatives of any order, and what may not be reached


@pytest.mark.parametrize(
    "name", ["mlp", "elementwise", "LayerNorm", "unregistered weight", "GRU", "bridge inside", "writes"]
)
def test_no_derivative_of_the_lent_gradient_reaches_a_weight(name: str) -> None:
    network, x = build(BANK[name])
    leaf = x.clone().requires_grad_()
    lend, _ = two_tracks(network, leaf, x)
    (first,) = torch.autograd.grad(lend.sin().sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), leaf, create_graph=True)
    second.square().sum().backward()
    assert all(weight.grad is None for weight in [*network.parameters(), *getattr(network, "hidden", [])])
    other = x.clone().requires_grad_()
    (first_plain,) = torch.autograd.grad(network(other * 1).sin().sum(), other, create_graph=True)
    (second_plain,) = torch.autograd.grad(first_plain.square().sum(), other, create_graph=True)
    (third_plain,) = torch.autograd.grad(second_plain.square().sum(), other)
    for found, expected in ((first, first_plain), (second, second_plain), (leaf.grad, third_plain)):
        torch.testing.assert_close(found, expected)


def test_a_weight_shared_with_the_model_gets_its_own_share() -> None:
    """The model's use and the penalty reach it; the task through the approximator does not."""
    shared, x = nn.Linear(4, 4), torch.randn(6, 4)
    for approximator in (nn.Sequential(nn.Tanh(), shared), nn.Sequential(nn.LayerNorm(4), shared)):
        shared.zero_grad()
        layer = hg.Bridge(hg.hard.sign, approximator)
        layer(shared(x)).sum().backward()
        found = shared.weight.grad.clone()
        frozen, middle = copy.deepcopy(approximator).requires_grad_(False), shared(x)
        loss = frozen(middle).sum() + 10 / 6 * (approximator(middle.detach()) - middle.sign()).square().sum()
        (expected,) = torch.autograd.grad(loss, shared.weight)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["mlp", "elementwise", "LayerNorm", "GRU"])
def test_gradients_of_many_cotangents_at_once(name: str) -> None:
    network, x = build(BANK[name])
    leaf = x.clone().requires_grad_()
    lend, _ = two_tracks(network, leaf, x)
    cotangents = torch.randn(3, *lend.shape, dtype=x.dtype)
    (found,) = torch.autograd.grad(lend, leaf, cotangents, is_grads_batched=True)
    other = x.clone().requires_grad_()
    for row, cotangent in zip(found, cotangents, strict=True):
        torch.testing.assert_close(row, torch.autograd.grad(network(other), other, cotangent)[0])


@pytest.mark.parametrize("name", ["elementwise", "LayerNorm", "Dropout", "functional noise"])
def test_an_input_without_gradient_teaches_all_the_same(name: str) -> None:
    network, x = build(BANK[name])
    torch.manual_seed(3)
    lend, learn = two_tracks(network, x, x)
    penalty(learn).backward()
    assert torch.equal(lend, learn)
    torch.manual_seed(3)
    expected = torch.autograd.grad(penalty(network(x)), list(network.parameters()))
    for weight, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


@pytest.mark.parametrize("name", ["elementwise", "LayerNorm", "writes", "TransformerEncoderLayer"])
def test_conditioning_is_plain_autograds(name: str) -> None:
    network, x = build(BANK[name])
    leaf = x.clone().requires_grad_()
    torch.manual_seed(3)
    lend, learn = two_tracks(network, leaf, leaf)
    (found,) = torch.autograd.grad(task(lend) + penalty(learn), leaf)
    torch.manual_seed(3)
    y = network(leaf * 1)
    (expected,) = torch.autograd.grad(task(y) + penalty(y), leaf)
    torch.testing.assert_close(found, expected)
    assert torch.equal(leaf, x)  # a network that writes had a copy


# One number at many places, in pieces


_SCALAR = {
    "tanh": lambda: hg.approximators.elementwise(3),
    "no hidden layer but one": lambda: hg.approximators.elementwise(3, layers=1),
    "three": lambda: hg.approximators.elementwise(3, layers=3, activation=nn.GELU),
    **{
        kind.__name__: lambda kind=kind: hg.approximators.elementwise(3, activation=kind)
        for kind in (nn.Identity, nn.ReLU, nn.ELU, nn.Sigmoid, nn.SiLU, nn.Softplus)
    },
    "tanh of GELU": lambda: hg.approximators.elementwise(3, activation=lambda: nn.GELU(approximate="tanh")),
    "another alpha": lambda: hg.approximators.elementwise(3, activation=lambda: nn.ELU(0.3)),
    "another beta": lambda: hg.approximators.elementwise(3, activation=lambda: nn.Softplus(3.0, 1.0)),
}


def _scalar(name: str, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    network = _SCALAR[name]().to(dtype)
    assert chain_of(network, torch.zeros(1, dtype=dtype))
    return network


def _both(network: nn.Module, x: Tensor, run: Callable[..., tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Values, and what each track gives input and weights."""
    leaf, weights = x.clone().requires_grad_(), [w for w in network.parameters() if w.requires_grad]
    lend, learn = run(network, leaf, leaf.detach())
    lent = torch.autograd.grad(task(lend), leaf, retain_graph=True)
    return [lend, learn, *lent, *torch.autograd.grad(task(learn.sin()), weights, retain_graph=True)]


@pytest.mark.parametrize("shape", [(5, 7), (0, 3), (1,), (2, 3, 4)])
@pytest.mark.parametrize("name", _SCALAR)
def test_a_network_of_one_number_is_plain_autograds(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of four places, some weights of it frozen, without a bias, and not contiguous."""
    monkeypatch.setattr(places, "_PIECE", 12)
    network = _scalar(name)
    network[1].weight.requires_grad_(False)
    network[3].register_parameter("bias", None)
    x = torch.randn(shape, dtype=torch.float64).mT.squeeze() if len(shape) == 2 else torch.randn(shape).double()
    for a, b in zip(_both(network, x, two_tracks), _both(network, x, lambda m, t, n: (m(t), m(n))), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_network_of_one_number_takes_many_cotangents_for_its_weights() -> None:
    network, x = _scalar("tanh"), torch.randn(5, dtype=torch.float64)
    cotangents, weights = torch.randn(3, 5, dtype=torch.float64), list(network.parameters())
    _, learn = two_tracks(network, x, x)
    found = torch.autograd.grad(learn, weights, cotangents, is_grads_batched=True)
    expected = torch.autograd.grad(network(x), weights, cotangents, is_grads_batched=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_hooks_run_once_where_a_second_derivative_is_kept() -> None:
    network, seen = _scalar("tanh"), []
    leaf = torch.ones(5, dtype=torch.float64, requires_grad=True)
    middle = leaf * 2
    for tensor in (middle, network[3].weight):
        tensor.register_hook(seen.append)
    lend, learn = two_tracks(network, middle, middle.detach())
    torch.autograd.grad((lend + learn).sum(), [leaf, *network.parameters()], create_graph=True)
    assert len(seen) == 2


def test_what_is_not_a_network_of_one_number_is_walked() -> None:
    network, x = _scalar("tanh", torch.float32), torch.zeros(3)
    assert not chain_of(hg.approximators.mlp(1, 1), x)
    assert not chain_of(hg.approximators.elementwise(3, activation=nn.Mish), x)
    assert not chain_of(hg.approximators.elementwise(3, activation=lambda: nn.Dropout(0.5)), x)
    assert not chain_of(network, x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not chain_of(network, x)
    assert not chain_of(network.bfloat16(), x.bfloat16())


# torch.func, checkpoints, hooks


@pytest.mark.parametrize(
    "name", ["mlp", "elementwise", "Dropout", "functional noise", "own generator", "Python's noise"]
)
def test_under_torch_func_the_tracks_are_one_draw(name: str) -> None:
    network, x = build(BANK[name])
    again = copy.deepcopy(network)

    def loss(x: Tensor) -> Tensor:
        lend, learn = two_tracks(network, x, x.detach())
        return task(lend) + penalty(learn)

    for _ in range(2):
        torch.manual_seed(3)
        random.seed(3)
        found = torch.func.grad(loss)(x)
        state = torch.get_rng_state(), random.random()
        torch.manual_seed(3)
        random.seed(3)
        torch.testing.assert_close(found, torch.func.grad(lambda x: task(again(x)))(x))
        assert torch.equal(torch.get_rng_state(), state[0])
        assert random.random() == state[1]


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_under_vmap_the_tracks_are_one_draw(randomness: str) -> None:
    network = between(Apply(lambda x: nn.functional.dropout(x, 0.5)))
    lend, learn = torch.vmap(lambda x: two_tracks(network, x, x), randomness=randomness)(torch.randn(3, 5, 4))
    assert torch.equal(lend, learn)


@pytest.mark.parametrize("name", ["elementwise", "LayerNorm", "Dropout", "functional noise", "counter"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_inside_an_activation_checkpoint(name: str, reentrant: bool) -> None:
    if name == "counter":
        name = "Dropout in place"  # a module that changes itself cannot be run again by any checkpoint
    network, x = build(BANK[name])
    found = []
    for run in (lambda layer, x: layer(x), lambda layer, x: checkpoint(layer, x, use_reentrant=reentrant)):
        layer, leaf = hg.Bridge(hg.hard.sign, copy.deepcopy(network)), x.clone().requires_grad_()
        torch.manual_seed(3)
        run(layer, leaf).sum().backward()
        found.append([leaf.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_the_learning_track_may_be_written_into() -> None:
    network, x = build(BANK["LayerNorm"])
    leaf = x.clone().requires_grad_()
    lend, learn = two_tracks(network, leaf, x)
    learn.mul_(3)
    (expected,) = torch.autograd.grad((network(leaf) * torch.ones_like(x)).sum(), leaf)
    torch.testing.assert_close(torch.autograd.grad(lend.sum(), leaf)[0], expected)


def test_hooks_on_the_input_fire_once_for_any_module() -> None:
    for approximator in (between(nn.Tanh()), between(nn.LayerNorm(4))):
        x, seen = torch.randn(6, 4, requires_grad=True), []
        middle = x * 2
        middle.register_hook(seen.append)
        hg.Bridge(hg.hard.sign, approximator)(middle).sum().backward()
        assert len(seen) == 1


def test_an_inner_bridge_counts_once() -> None:
    """In the bag, by itself, and by what its own penalty is."""
    inner = hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4, hidden=(5,)))
    outer, x = hg.Bridge(hg.hard.sort, between(inner)), torch.randn(6, 4, requires_grad=True)
    hidden = outer.approximator[0](x)
    expected = 10 / 6 * (inner.approximator(hidden) - hidden.sign()).square().sum()
    gradients = torch.autograd.grad(expected, list(inner.parameters()))
    with hg.penalties(outer) as bag:
        outer(x)
    torch.testing.assert_close(dict(bag)["approximator.1"], expected)
    y = outer(x)
    for loss in (y[:, 0].sum(), y[:, 1:].sum()):
        loss.backward(retain_graph=True)
    for weight, gradient in zip(inner.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


# Compiled code


def _compiled_loss(network: nn.Module, **options: object) -> Callable[[Tensor], Tensor]:
    torch.compiler.reset()
    layer = hg.Bridge(hg.hard.sign, network)
    return torch.compile(lambda x: layer(x).sum(), **{"backend": "eager", "fullgraph": True, **options})


def test_a_users_module_without_noise_stays_in_the_graph() -> None:
    """For any batch, too."""
    network = between(Apply(lambda x: x.sin() + x.cos()))
    run = _compiled_loss(network, dynamic=True)
    for batch in (3, 5, 7):
        x = torch.randn(batch, 4, requires_grad=True)
        run(x).backward()
        (expected,) = torch.autograd.grad(network(x).sum(), x)
        torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("noisy", [Apply(lambda x: x + torch.randn_like(x)), Counting(), nn.RReLU()])
def test_a_module_that_may_run_once_alone_says_so_under_fullgraph(noisy: nn.Module) -> None:
    run = _compiled_loss(between(noisy))
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"draws random numbers or changes itself.*fullgraph"):
        run(torch.randn(3, 4, requires_grad=True))


def test_an_approximator_that_returns_no_tensor_is_named() -> None:
    layer = hg.Bridge(hg.hard.sign, nn.LSTM(4, 4))
    with pytest.raises(ValueError, match=r"approximator must return a tensor, got tuple from LSTM; wrap it"):
        layer(torch.randn(3, 4))


class _Detaching(nn.Linear):
    """A network whose weights learn, and that cuts its input off."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.detach())


class _Off(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(input)


_CUT = r"the approximator must pass a gradient on to its input, got an output of \w+ from which none reaches it"


@pytest.mark.parametrize("network", [_Detaching(3, 3), _Off(3, 3), torch.compile(_Detaching(3, 3), backend="eager")])
@pytest.mark.parametrize("eval", [False, True])
def test_an_approximator_that_lends_nothing_says_so(network: nn.Module, eval: bool) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    bridge = hg.Bridge(torch.sign, network, differentiable_in_eval=True).train(not eval)
    with pytest.raises(ValueError, match=rf"Bridge\(sign\): {_CUT}"):
        bridge(x)
    book = hg.Codebook(
        8, 3, gradient="bridge", approximator=network, start="normal", differentiable_in_eval=True
    ).train(not eval)
    with pytest.raises(ValueError, match="Codebook: the approximator must pass a gradient on"):
        book(x)
    q = torch.distributions.Bernoulli(logits=x)
    with pytest.raises(ValueError, match="bridge_estimator: approximator must pass a gradient on"):
        hg.montecarlo.bridge_estimator(q, lambda b: b.sum(-1), network)


@pytest.mark.parametrize("soft", [Tensor.detach, torch.zeros_like])
def test_a_twin_that_lends_nothing_says_so(soft: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    layer = hg.straight_through(torch.sign, soft)
    with pytest.raises(ValueError, match=r"straight_through\(sign\): soft must return what depends on its input"):
        layer(x)
    with pytest.raises(ValueError, match="Codebook: gradient must return what depends on its rows"):
        hg.Codebook(8, 3, gradient=soft, start="normal")(x)
    assert layer(x.detach()).requires_grad is False, "where nothing needs a gradient, none is missed"
    layer = hg.straight_through(torch.sign, lambda x: 0 * x)  # a gradient of zero is one
    assert torch.autograd.grad(layer(x).sum(), x)[0].count_nonzero() == 0


def test_a_first_layer_misses_nothing() -> None:
    network = _Detaching(3, 3)
    bridge = hg.Bridge(torch.sign, network)
    bridge(torch.randn(4, 3)).sum().backward()
    assert network.weight.grad is not None
    with pytest.raises(ValueError, match="must pass a gradient on"):
        bridge(torch.randn(4, 3, requires_grad=True))


def test_the_graph_is_searched_at_the_first_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recurrent network's graph is long; a copy is another network."""
    searched = []
    monkeypatch.setattr(lends, "_leads_to", lambda start, goal: searched.append(start) or True)
    network, x = between(nn.LayerNorm(4)), torch.randn(3, 4, requires_grad=True)
    for module in (network, network, copy.deepcopy(network)):
        hg.Bridge(torch.sign, module)(x)
    assert len(searched) == 2
