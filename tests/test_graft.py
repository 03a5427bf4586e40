"""The primitive: exact value, lent gradient."""

from __future__ import annotations

import pytest
import torch

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
    ],
)
def test_mistakes_are_named(value: torch.Tensor, path: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.graft(value, path)
