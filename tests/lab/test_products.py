"""Products of bfloat16 on a processor without instructions for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hardgrad_lab.experiments.bridges.optimizers import muon_of
from hardgrad_lab.experiments.bridges.sorting.config import configure
from hardgrad_lab.experiments.bridges.sorting.run import begin
from hardgrad_lab.runs.products import PRODUCTS, Float32Products, bf16_products

CPU = torch.device("cpu")
ULP = 2.0**-8  # bfloat16 has 8 bits: the nearest number lies within half of this, relatively


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


CALLS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "mm": (torch.mm, (drawn(9, 300), drawn(300, 7))),
    "addmm": (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=-2.0), (drawn(9, 7), drawn(9, 300), drawn(300, 7))),
    "bmm": (torch.bmm, (drawn(3, 9, 300), drawn(3, 300, 7))),
    "baddbmm": (torch.baddbmm, (drawn(3, 9, 7), drawn(3, 9, 300), drawn(3, 300, 7))),
    "linear": (F.linear, (drawn(9, 300), drawn(7, 300), drawn(7))),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), (drawn(2, 40, 6, 6), drawn(5, 40, 3, 3), drawn(5))),
    "conv1d": (F.conv1d, (drawn(2, 100, 8), drawn(5, 100, 3))),
}


class Seen(TorchDispatchMode):
    """Notes the types that products are computed in; outside of another mode it sees what that hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.dtypes += {each.dtype for each in args if isinstance(each, Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=[True, False], ids=["with", "without"])
def known(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether the processor multiplies bfloat16."""
    known = bool(request.param)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: known)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: known, raising=False)
    return known


@pytest.mark.parametrize("name", CALLS)
def test_a_product_is_that_of_float64_rounded_once(name: str) -> None:
    call, factors = CALLS[name]
    halves = [each.bfloat16().requires_grad_() for each in factors]
    doubles = [each.detach().double().requires_grad_() for each in halves]
    grad = drawn(*call(*factors).shape).bfloat16()
    with Float32Products():
        value = call(*halves)
        value.backward(grad)
    expected = call(*doubles)
    expected.backward(grad.double())
    for got, right in [(value, expected), *((a.grad, b.grad) for a, b in zip(halves, doubles, strict=True))]:
        assert got is not None
        assert right is not None
        assert got.dtype == torch.bfloat16
        nearest = right.bfloat16()
        # A sum in another order may fall on the other side of a tie; sums of biases torch takes in bfloat16 itself.
        assert (got == nearest).float().mean() > 0.95 or got.ndim == 1
        torch.testing.assert_close(got.double(), right, rtol=ULP, atol=1e-4)


def test_products_of_float32_and_what_is_no_product_are_left_alone() -> None:
    call, factors = CALLS["addmm"]
    halves = factors[0].bfloat16()
    with Float32Products():
        assert torch.equal(call(*factors), call(*factors))
        inside, root = call(*factors), (halves * halves).sum().sqrt()
    assert torch.equal(inside, call(*factors))
    assert torch.equal(root, (halves * halves).sum().sqrt())


def test_a_step_multiplies_in_float32_both_ways_where_bfloat16_is_unknown(known: bool) -> None:
    given = {"width": 8, "batch": 16, "samples": 32, "test_rows": 10, "curve_rows": 10, "optimizer": "adam"}
    torch.manual_seed(0)
    training, plan = begin(configure("fast", "signum-rnn", 3, given), 0, CPU)
    with Seen() as seen:
        training.step(training.loss, plan.clip)
    assert (torch.bfloat16 in seen.dtypes) == known
    assert len(seen.dtypes) > 3 * 2, "each of three numbers is multiplied forward and backward"


def test_muon_multiplies_in_float32_where_bfloat16_is_unknown_and_its_step_is_torchs(known: bool) -> None:
    matrix, grad = drawn(12, 20), drawn(20, 12).T.contiguous()
    ours, theirs = torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(matrix.clone())
    ours.grad, theirs.grad = grad.clone(), grad.clone()
    with Seen() as seen:
        muon_of([ours], lr=0.1)[0].step()
    assert set(seen.dtypes) == {torch.bfloat16 if known else torch.float32}
    torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    step, right = ours - matrix, theirs - matrix
    assert (step - right).norm() < 0.02 * right.norm(), "five products of products, each of three digits"


def test_a_gpu_is_left_alone(known: bool) -> None:
    assert not isinstance(bf16_products(torch.device("cuda")), Float32Products)
    assert isinstance(bf16_products(CPU), Float32Products) == (not known)
