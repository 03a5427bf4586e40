"""Pairs of modes that meet in a surrogate: compiled, torch.func, autocast, evaluation; one layer of each family."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap

import hardgrad as hg
from hardgrad import no_gradient
from hardgrad.penalty.scopes import penalties_disabled

X = torch.linspace(-2.0, 2.0, 20, dtype=torch.float64).view(5, 4).sin() * 2
W = torch.linspace(-1.0, 2.0, 20, dtype=torch.float64).view(5, 4)
SIGN = partial(hg.hard.sign, margin=0.5)


def _in_place(x: Tensor) -> Tensor:
    return x.sign_()


class _Weighed(nn.Module):
    """A hard function with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((4,), 0.1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x + self.shift)


Make = Callable[..., nn.Module]


def _bridge(hard: Callable[[Tensor], Tensor], **options: object) -> nn.Module:
    return hg.Bridge(hard, hg.approximators.mlp(4, 4, hidden=(5,)).double(), **options)


LAYERS: dict[str, Make] = {
    "bridge": partial(_bridge, SIGN),
    "bridge of a module": lambda **options: _bridge(_Weighed(), **options),
    "identity twin": lambda **options: hg.straight_through(_in_place, **options),
    "soft twin": lambda **options: hg.straight_through(torch.sign, torch.tanh, **options),
}


def model_of(name: str, **options: object) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), LAYERS[name](**options), nn.Linear(4, 4)).double()


def loss_of(y: Tensor) -> Tensor:
    return (y * W[: len(y)]).sum()


def gradients(model: nn.Module, run: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
    model.zero_grad()
    x = X.clone().requires_grad_()
    loss_of((run or model)(x)).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"input": x.grad}


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()
    no_gradient._warned_compiled.clear()


def heard(run: Callable[[], object]) -> list[str]:
    """The sentences of this library that a run says."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in said if "no gradient passes" in str(w.message)]


BACKENDS = ["eager", "aot_eager"]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_training_and_evaluation_that_lends(name: str, backend: str) -> None:
    model = model_of(name, differentiable_in_eval=True)
    want = gradients(model)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    assert_close(gradients(model, compiled), want)
    want = {name: g for name, g in want.items() if "approximator" not in name}
    model.eval()
    assert_close(gradients(model), want)
    assert_close(gradients(model, compiled), want)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_evaluation_says_so_in_its_backward_alone(name: str, backend: str) -> None:
    model = model_of(name).eval()
    compiled, x = torch.compile(model, fullgraph=True, backend=backend), X.clone().requires_grad_()
    outputs: list[Tensor] = []
    assert heard(lambda: outputs.append(compiled(x))) == []
    assert torch.equal(outputs[0], model(X))
    (sentence,) = heard(lambda: outputs[0].sum().backward())
    assert "differentiable_in_eval=True" in sentence
    assert x.grad.count_nonzero() == 0
    assert model[2].weight.grad.count_nonzero() > 0
    assert heard(lambda: compiled(x).sum().backward()) == []


@pytest.mark.filterwarnings("ignore::Warning:torch.*")
def test_inductor_for_all() -> None:
    model = model_of("bridge")
    want = gradients(model)
    compiled = torch.compile(model, fullgraph=True)
    assert_close(gradients(model, compiled), want)
    model.eval()
    outputs = [compiled(X.clone().requires_grad_())]
    assert torch.equal(outputs[0].sign(), model(X).sign())
    assert len(heard(lambda: outputs[0].sum().backward())) == 1


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("train", [True, False])
def test_a_compiled_derivative_is_the_eager_one(name: str, backend: str, train: bool) -> None:
    """torch.func.grad of the input, and of each row by vmap, compiled as a whole."""
    model = model_of(name, differentiable_in_eval=True).train(train)
    derivative = grad(lambda x: loss_of(model(x)))
    found = torch.compile(derivative, fullgraph=True, backend=backend)(X)
    torch.testing.assert_close(found, gradients(model)["input"])

    def alone(row: Tensor) -> Tensor:
        with penalties_disabled():  # the task's gradient is what this looks at
            return loss_of(model(row[None]))

    rows = vmap(grad(alone))
    torch.testing.assert_close(torch.compile(rows, fullgraph=True, backend=backend)(X), rows(X))


@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_a_derivative_in_evaluation_says_so(backend: str | None) -> None:
    model = model_of("soft twin").eval()
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def derivative(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return grad(lambda w: loss_of(functional_call(model, w, (X,))))(weights)

    def value(x: Tensor) -> Tensor:
        return vmap(lambda row: model(row[None])[0])(x)

    run = derivative if backend is None else torch.compile(derivative, fullgraph=True, backend=backend)
    look = value if backend is None else torch.compile(value, fullgraph=True, backend=backend)
    assert heard(lambda: torch.testing.assert_close(look(X), model(X))) == []
    found: list[dict[str, Tensor]] = []
    (sentence,) = heard(lambda: found.append(run(weights)))
    assert sentence.startswith("straight_through(sign): in eval() no gradient passes")
    assert found[0]["0.weight"].count_nonzero() == 0
    assert found[0]["2.weight"].count_nonzero() > 0


def _dual(model: nn.Module) -> tuple[Tensor, Tensor | None]:
    with forward_ad.dual_level():
        y = forward_ad.unpack_dual(model(forward_ad.make_dual(X, W)))
        return y.primal, y.tangent


@pytest.mark.parametrize("forward", [_dual, lambda model: torch.func.jvp(model, (X,), (W,))])
def test_forward_mode_in_evaluation_says_so(forward: Callable[[nn.Module], tuple[Tensor, Tensor]]) -> None:
    model = LAYERS["soft twin"]().eval()
    found: list[tuple[Tensor, Tensor]] = []
    (sentence,) = heard(lambda: found.append(forward(model)))
    assert "eval()" in sentence
    assert torch.equal(found[0][0], model(X))
    assert found[0][1] is None or found[0][1].count_nonzero() == 0
    for lends in (model.train(), LAYERS["soft twin"](differentiable_in_eval=True).eval()):
        with pytest.raises(NotImplementedError, match="jvp"):
            forward(lends)


@pytest.mark.parametrize("name", LAYERS)
def test_autocast_in_evaluation_that_lends(name: str) -> None:
    model = model_of(name, differentiable_in_eval=True).float()
    found = {}
    for train in (True, False):
        model.train(train)
        x = X.float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = model(x)
        (y.float() * W.float()).sum().backward()
        found[train] = x.grad
    assert found[True].dtype == torch.float32
    torch.testing.assert_close(found[True], found[False])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_evaluation(name: str, dtype: torch.dtype) -> None:
    layer, x = model_of(name)[1].to(dtype).eval(), X.to(dtype).requires_grad_()
    y = layer(x)
    assert y.dtype == dtype
    assert len(heard(lambda: y.sum().backward())) == 1
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("name", LAYERS)
def test_one_meaning_of_what_the_hard_function_has_of_its_own(name: str) -> None:
    """Its own derivatives and weights get nothing in training, and nothing in evaluation."""
    model = model_of(name)
    for part in (model[1], hg.straight_through(hg.hard.sort), hg.straight_through(hg.hard.sort).eval()):
        x = X.clone().requires_grad_()
        y = part(x)
        assert len(heard(lambda y=y: y.sum().backward())) == (not part.training)
        own = [p for n, p in part.named_parameters() if n.startswith("hard")]
        assert all(p.grad is None for p in own)
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_a_scripted_or_exported_program_says_nothing_and_agrees() -> None:
    model = model_of("bridge of a module").eval()
    x = X.clone()
    assert torch.equal(torch.jit.trace(model, x)(X), model(X))
    for strict in (False, True):
        program = torch.export.export(model, (x,), strict=strict)
        assert torch.equal(program.module()(X), model(X))
        assert heard(lambda p=program: p.module()(X)) == []


def test_numpy_in_every_mode_that_runs_python() -> None:
    def program(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().round())

    layer = _bridge(program, differentiable_in_eval=True)
    first = nn.Linear(4, 4).double()
    for train in (True, False):
        for lends in (True, False):
            layer.train(train).differentiable_in_eval = lends
            y = layer(first(X))
            assert torch.equal(y, first(X).round())
            assert y.requires_grad
    with torch.no_grad():
        assert torch.equal(layer(first(X).requires_grad_()), first(X).round())
    assert torch.equal(hg.strip(layer)(first(X)), first(X).round())
