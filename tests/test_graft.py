"""The primitive: exact value, lent gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import hardgrad as hg


def test_value_is_exact_where_the_usual_sum_is_not() -> None:
    soft, value = torch.rand(10_000) * 3, torch.rand(10_000)
    assert torch.equal(hg.graft(value, soft), value)
    assert not torch.equal(soft + (value - soft).detach(), value)  # why the primitive exists


def test_gradient_reaches_the_path_alone() -> None:
    value, path = torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)
    weight = torch.arange(4.0)
    (hg.graft(value, path) * weight).sum().backward()
    assert value.grad is None
    assert torch.equal(path.grad, weight)


def test_result_may_be_changed_in_place() -> None:
    value, path = torch.zeros(3), torch.zeros(3, requires_grad=True)
    y = hg.graft(value, path)
    y.mul_(2).add_(1)
    y.sum().backward()
    assert value.tolist() == [0.0, 0.0, 0.0]
    assert path.grad.tolist() == [2.0, 2.0, 2.0]


def test_dtypes_may_differ() -> None:
    path = torch.zeros(3, dtype=torch.bfloat16, requires_grad=True)
    y = hg.graft(torch.ones(3), path)
    y.sum().backward()
    assert (y.dtype, path.grad.dtype) == (torch.float32, torch.bfloat16)


VALUES = torch.tensor([0.0, -0.0, math.inf, math.nan, -1.5, 3.0])
PATHS = {
    "finite": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    "not finite": torch.tensor([math.inf, math.nan, -math.inf, math.inf, 5.0, -math.inf]),
}
WEIGHT = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0, -6.0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("backend", [None, "eager", "aot_eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bit_for_bit_whatever_the_path_holds(path: str, backend: str | None, dtype: torch.dtype) -> None:
    """In a derivative too, compiled or not: signed zeros, inf and NaN of the value, and none of the path's."""

    def loss(path: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        y = hg.graft(value, path)
        return (y * WEIGHT).sum(), y

    torch.compiler.reset()
    derivative = torch.func.grad(loss, has_aux=True)
    run = derivative if backend is None else torch.compile(derivative, fullgraph=True, backend=backend)
    gradient, y = run(PATHS[path].to(dtype), VALUES)
    assert torch.equal(y.view(torch.int32), VALUES.view(torch.int32))
    assert torch.equal(gradient, WEIGHT.to(dtype))


@pytest.mark.parametrize("batched", [(0, None), (None, 0), (0, 0)])
def test_compiled_rows(batched: tuple[int | None, int | None]) -> None:
    torch.compiler.reset()
    path, value = (
        t if dim is None else torch.stack([t, t * 2]) for t, dim in zip((WEIGHT, VALUES), batched, strict=True)
    )
    rows = torch.func.vmap(torch.func.grad(lambda p, v: (hg.graft(v, p) * WEIGHT).sum()), in_dims=batched)
    found = torch.compile(rows, fullgraph=True, backend="aot_eager")(path, value)
    assert torch.equal(found, torch.stack([WEIGHT, WEIGHT]))


def test_compiled_forward_mode_has_the_paths_tangent() -> None:
    torch.compiler.reset()
    tangent = torch.compile(
        lambda p: torch.func.jvp(lambda q: hg.graft(VALUES, q.sin()), (p,), (WEIGHT,))[1], backend="eager"
    )
    torch.testing.assert_close(tangent(PATHS["finite"]), WEIGHT * PATHS["finite"].cos())


def test_forward_mode_says_that_it_cannot() -> None:
    with pytest.raises(RuntimeError, match="jvp"):
        torch.func.jvp(lambda x: hg.graft(x.sign(), x), (torch.ones(3),), (torch.ones(3),))


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (
            torch.zeros(2, 3),
            torch.zeros(3),
            r"graft: value and path must have one shape, got value \(2, 3\) and path \(3,\)",
        ),
        (
            torch.zeros(2),
            torch.zeros(2, device="meta"),
            "graft: value and path must be on one device, got value on cpu",
        ),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2), "graft: value must be floating point.*got torch.int64"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "graft: path must be floating point.*got torch.int64"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.complex64), "graft: path must be floating point.*complex64"),
        (1.0, torch.zeros(2), "graft: value must be a tensor, got float"),
        (torch.zeros(2), [0.0, 0.0], "graft: path must be a tensor, got list"),
    ],
)
def test_mistakes_are_named(value: torch.Tensor, path: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.graft(value, path)
