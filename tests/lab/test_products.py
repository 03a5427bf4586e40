"""Products of bfloat16 on a processor without instructions for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from hardgrad_lab.experiments.bridges.sorting.config import configure
from hardgrad_lab.experiments.bridges.sorting.run import begin
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.products import PRODUCTS, Float32Products, bf16_products
from hardgrad_lab.runs.step import Together, as_asked, products

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
    monkeypatch.setattr("hardgrad_lab.runs.products.onednn_knows_bf16", lambda: known)
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


def begun(**given: Any) -> tuple[Training, Plan]:
    small = {"width": 8, "batch": 16, "samples": 32, "test_rows": 10, "curve_rows": 10}
    torch.manual_seed(0)
    return begin(configure("fast", "signum-rnn", 3, small | given), 0, CPU)


def test_a_step_multiplies_in_float32_both_ways_where_bfloat16_is_unknown(known: bool) -> None:
    training, plan = begun(optimizer="adam")
    with Seen() as seen:
        training.step(training.loss, plan.clip)
    assert (torch.bfloat16 in seen.dtypes) == known
    assert len(seen.dtypes) > 3 * 2, "each of three numbers is multiplied forward and backward"


def test_muon_multiplies_in_float32_where_bfloat16_is_unknown_and_its_step_is_torchs(known: bool) -> None:
    training, plan = begun(precision="float32")
    muon = training.optimizers[0]
    (matrix,) = (
        p for p in muon.param_groups[0]["params"] if p.shape == (32, 8)
    )  # of the cell: an approximator lends to it
    before, hooks = matrix.detach().clone(), []
    muon.param_groups[0]["lr"] = 0.1  # a cycle begins at nothing
    muon.register_step_post_hook(lambda *_: hooks.append(1))
    with Seen() as seen:
        training.step(training.loss, plan.clip)
    assert (torch.bfloat16 in seen.dtypes) == known
    assert len(hooks) == 1
    again = torch.nn.Parameter(before.clone())
    again.grad = matrix.grad
    torch.optim.Muon([again], **{**muon.defaults, "lr": 0.1}).step()
    step, right = matrix.detach() - before, again.detach() - before
    assert right.norm() > 0.1
    assert (step - right).norm() < 0.02 * right.norm(), "five products of products, each of three digits"


@pytest.mark.parametrize(("given", "bf16"), [({"precision": "bfloat16"}, False), ({"precision": "float32"}, True)])
def test_what_is_to_be_compiled_is_compiled_in_bfloat16_too(
    given: dict[str, Any], bf16: bool, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, plan = begun(**given)
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    counters.clear()
    training.step(as_asked(training.loss, training.model, compiled=True, bf16=bf16), plan.clip)
    assert counters["stats"]["unique_graphs"] == 1


def test_processes_that_share_a_run_multiply_as_one_alone_does(known: bool) -> None:
    training, _ = begun()
    shared = Together(cast(DistributedDataParallel, training.model), training.loss)
    assert isinstance(products(shared, CPU), Float32Products) == (not known)
    assert not isinstance(products(lambda x, y: x, CPU), Float32Products)


def test_a_gpu_is_left_alone(known: bool) -> None:
    assert not isinstance(bf16_products(torch.device("cuda")), Float32Products)
    assert isinstance(bf16_products(CPU), Float32Products) == (not known)
