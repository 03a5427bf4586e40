"""More laws of every surrogate: user code that writes in place, evaluation, and modes that meet."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

import hardgrad as hg
from cases import Case, Function

Found = tuple[Tensor, dict[str, Tensor]]


def trained(layer: nn.Module, x: Tensor) -> Found:
    """Value and gradients of a plain training step, the input's too."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(x * 1.0)
    (y * weights(y)).sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    return y.detach().clone(), found | {"input": x.grad.clone()}


def weights(y: Tensor) -> Tensor:
    """Another weight for every entry, so that no gradient can stand for another."""
    return torch.linspace(-1.0, 2.0, y.numel(), dtype=y.dtype, device=y.device).view_as(y)


def assert_equal(a: Found, b: Found) -> None:
    assert torch.equal(a[0], b[0])
    assert a[1].keys() == b[1].keys()
    for name, gradient in b[1].items():
        torch.testing.assert_close(a[1][name], gradient, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


class Writes:
    """A hard function that spoils its input, and returns memory that it keeps and spoils at the next call."""

    def __init__(self, function: Function, through_numpy: bool) -> None:
        self.function, self.through_numpy = function, through_numpy
        self.kept: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        value = self.function(x).clone()
        if self.kept is not None:
            self._spoil(self.kept)
        self._spoil(x)
        self.kept = value
        return value

    def _spoil(self, x: Tensor) -> None:
        if self.through_numpy:
            x.numpy()[...] = 7.0  # torch's version counter does not see it
        else:
            x.fill_(7.0)


def hard_code_in_place(case: Case) -> None:
    """A hard function may write into its input and keep its output: training, evaluation and the stripped layer."""
    x = case.input()
    want, value = trained(case.layer(), x), case.function(x)
    for through_numpy in (False, True)[: 2 if x.device.type == "cpu" else 1]:
        layer = case.layer(hard=Writes(case.function, through_numpy))
        assert_equal(trained(layer, x), want)
        assert_equal(trained(layer, x), want)
        for ready in (layer.eval(), hg.strip(layer)):
            kept, mine = x.clone().requires_grad_(), x.clone()
            first = ready(kept)
            ready(mine)
            assert torch.equal(first, value)
            assert torch.equal(kept, x)
            assert torch.equal(mine, x)


def lent_code_in_place(case: Case) -> None:
    """So may what lends the gradient: a soft twin its input, a distance both of its arguments, f at other points."""
    x = case.input()
    if case.surrogate == "bridge":
        plain = case.layer(distance=lambda a, t: (a - t).square())
        writes = case.layer(distance=lambda a, t: a.sub_(t).square_() + 0 * t.fill_(7.0))
    elif case.surrogate == "two points":
        plain, writes = case.layer(), case.layer(hard=Writes(case.function, through_numpy=x.device.type == "cpu"))
    else:
        soft = case.soft or (lambda t: t * 1.0)

        def twin(t: Tensor) -> Tensor:
            path = soft(t.clone())
            t.mul_(0.0)
            return path

        plain, writes = case.layer(), case.layer(soft=twin)
    assert_equal(trained(writes, x), trained(plain, x))
    mine = x.clone().requires_grad_() * 1.0
    writes(mine)
    assert torch.equal(mine, x)


def eval_is_said(case: Case) -> None:
    """In eval() no gradient passes; a backward that needs one is told so, once, and nobody else is."""
    layer, x = case.layer().eval(), case.input()
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)
        with torch.no_grad():
            layer(x.clone().requires_grad_())
        y = layer(leaf := x.clone().requires_grad_())
        assert torch.equal(y, case.function(x))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        y.sum().backward()
        layer(x.clone().requires_grad_()).sum().backward()
    assert len(said) == 1
    assert all(word in str(said[0].message) for word in (layer._label(), "eval()", "differentiable_in_eval=True"))
    assert leaf.grad.count_nonzero() == 0
    assert leaf.grad.shape == x.shape
    assert all(p.grad is None for p in layer.parameters())
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())


def eval_when_asked(case: Case) -> None:
    """differentiable_in_eval=True: training's value and gradient to the input, and nothing in the layer moves."""
    x = case.input()
    value, want = trained(case.layer(), x)
    layer = case.layer(differentiable_in_eval=True).eval()
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    assert_equal(trained(layer, x), (value, {"input": want["input"]}))
    with hg.penalties() as bag:
        layer(x)
    assert len(bag) == 0
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())


def looks_before_training(case: Case) -> None:
    """inference_mode, no_grad and eval first: the training step after them is that of a fresh layer."""
    x = case.input()
    want, layer = trained(case.layer(), x), case.layer()
    with torch.inference_mode():
        layer(case.input(seed=3))
        layer(x)
    with torch.no_grad():
        layer(x)
    layer.eval()(x)
    assert_equal(trained(layer.train(), x), want)


def travel(case: Case) -> None:
    """pickle, torch.save of the whole layer and deepcopy, before and after a step: the same layer."""
    x, layer = case.input(), case.layer()
    want = trained(layer, x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False), copy.deepcopy(layer)):
        assert type(other) is type(layer)
        assert_equal(trained(other, x), want)
    stripped = pickle.loads(pickle.dumps(hg.strip(layer)))
    assert torch.equal(stripped(x), case.function(x))


def batched_gradients(case: Case) -> None:
    """Several cotangents at once (is_grads_batched, jacobian(vectorize=True)) are a loop over them, in eval() too."""
    layer, x = case.layer(), case.input()
    cotangents = torch.randn(3, *case.function(x).shape, dtype=x.dtype, device=x.device)
    for ready in (layer, case.layer(differentiable_in_eval=True).eval()):
        leaf = x.clone().requires_grad_()
        y = ready(leaf)
        (batched,) = torch.autograd.grad(y, leaf, cotangents, is_grads_batched=True, retain_graph=True)
        for gradient, cotangent in zip(batched, cotangents, strict=True):
            (want,) = torch.autograd.grad(y, leaf, cotangent, retain_graph=True)
            torch.testing.assert_close(gradient, want)
    jacobian = torch.autograd.functional.jacobian
    fast, slow = (jacobian(lambda t: layer(t).sum(0), x, vectorize=vectorize) for vectorize in (True, False))
    torch.testing.assert_close(fast, slow)


def meta_device(case: Case) -> None:
    """On "meta", where no value can be read: shapes, dtypes, and a backward."""
    layer = case.layer(hard=lambda t: torch.empty_like(case.function(case.input()), device="meta")).to("meta")
    x = case.input().to("meta").requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert (y.shape, x.grad.shape, y.device.type) == (case.function(case.input()).shape, x.shape, "meta")
    with torch.no_grad():
        assert layer.eval()(x).shape == y.shape


MODES: dict[str, Callable[[Case], None]] = {
    "hard code in place": hard_code_in_place,
    "lent code in place": lent_code_in_place,
    "eval() is said": eval_is_said,
    "differentiable_in_eval": eval_when_asked,
    "inference, then train": looks_before_training,
    "pickle, torch.save": travel,
    "batched gradients": batched_gradients,
    "meta": meta_device,
}
