"""A bank against the same branches run one by one: every layout, every layer, and what only the branches can do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.branches.bank import layouts, products
from hardgrad.switch.branches.bank.elementwise import ELEMENTWISE


def pair(branch: nn.Module, ranges: int) -> tuple[hg.Switch, hg.Switch]:
    """The same weights in a bank and as modules."""
    torch.manual_seed(0)
    points = [float(i) for i in range(ranges + 1)]
    apart = hg.Switch(hg.Ranges(points), branch).double()
    banked = hg.Switch(hg.Ranges(points), [copy.deepcopy(b) for b in apart.branches], bank=True)
    return banked, apart


def mlp(*, bias: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 12, bias=bias), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 1, bias=bias)
    )


def assert_same(banked: hg.Switch, apart: hg.Switch, x: Tensor, key: Tensor) -> None:
    """Value, gradient of x and of every parameter, and none where no row came."""
    found = []
    for layer in (banked, apart):
        layer.zero_grad()
        mine = x.clone().requires_grad_()
        y = layer(mine, key)
        (y * torch.linspace(1, 2, len(y), dtype=y.dtype)[:, None]).sin().sum().backward()
        found.append([y, mine.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def layout_of(rows: list[int]) -> layouts.Layout:
    index = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
    return layouts.Layout(index, rows, [i for i, size in enumerate(rows) if size])


# Name: ranges, and how many rows go to each of them. Every case has ranges without a row.
BATCHES: dict[str, tuple[int, list[int]]] = {
    "a row each": (40, [1, 0] * 20),
    "few rows each": (30, [3, 1, 0, 2, 0, 1] * 5),
    "many rows each": (6, [30, 41, 0, 35, 28, 33]),
    "more rows than a loop takes": (6, [130, 141, 0, 135, 128, 133]),
    "one range has nearly all": (9, [1, 0, 2, 900, 1, 1, 0, 3, 2]),
    "ends without rows": (8, [0, 0, 20, 25, 0, 22, 0, 0]),
    "growing": (12, [0, *(2**i for i in range(11))]),
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("copied", [10**9, 0], ids=["copied", "in place"])
def test_every_batch_has_the_values_and_gradients_of_the_branches(
    name: str, bias: bool, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "COPIED", copied)
    monkeypatch.setattr(products, "IN_CACHE", 0)
    ranges, rows = BATCHES[name]
    banked, apart = pair(mlp(bias=bias), ranges)
    key = torch.repeat_interleave(torch.arange(ranges, dtype=torch.float64) + 0.5, torch.tensor(rows))
    generator = torch.Generator().manual_seed(1)
    key = key[torch.randperm(len(key), generator=generator)]
    x = torch.randn(len(key), 5, generator=generator, dtype=torch.float64)
    assert_same(banked, apart, x, key)


def test_the_batches_above_take_every_layout() -> None:
    cut = {name: len(layout_of(rows).chunks) for name, (_, rows) in BATCHES.items()}
    assert cut["a row each"] == cut["few rows each"] == cut["many rows each"] == 1
    assert cut["one range has nearly all"] == 2
    assert 1 < cut["growing"] < 11


def test_every_visited_range_has_slots_for_its_rows_and_little_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        sizes = (torch.rand(60, generator=generator).pow(4) * 300).int().tolist()
        layout = layout_of(sizes)
        assert sorted(layout.order) == [i for i, size in enumerate(sizes) if size]
        assert all(span >= sizes[i] for i, span in zip(layout.order, layout.spans, strict=True))
        assert layout.slots == sum(layout.spans) == layout.chunks[-1].stop
        assert all(chunk.stop - chunk.start == sum(layout.spans[chunk.ranges]) for chunk in layout.chunks)
        assert layout.slots <= sum(sizes) + layouts.ROWS_PER_KERNEL * len(layout.chunks)


def test_ranges_lie_in_the_order_of_their_sizes() -> None:
    # In their own order the rows of every second one would be padded to nine.
    assert layout_of([1, 9] * 30).slots == 300


@pytest.mark.parametrize("layer", ELEMENTWISE, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("rows", [6, 60], ids=["few", "many"])
def test_every_elementwise_layer_has_its_gradient(layer: type[nn.Module], rows: int) -> None:
    # Before, between, behind the linear layers, and twice in a row: in place only where the buffer is the bank's own.
    branch = nn.Sequential(
        layer(), nn.Linear(5, 9), layer(), nn.Linear(9, 9), layer(), layer(), nn.Linear(9, 2), layer()
    )
    banked, apart = pair(branch, 4)
    x = torch.randn(rows, 5, dtype=torch.float64)
    key = torch.rand(rows, dtype=torch.float64) * 3
    before = x.clone()
    assert_same(banked, apart, x, key)
    assert torch.equal(x, before)
    grads = [p.grad for p in banked.parameters()]
    banked.zero_grad()
    (banked(x, key) * torch.linspace(1, 2, rows, dtype=x.dtype)[:, None]).sin().sum().backward()
    for p, grad in zip(banked.parameters(), grads, strict=True):
        assert p.grad is grad or torch.equal(p.grad, grad)


def test_the_gradient_that_comes_in_is_not_written_to() -> None:
    banked, _ = pair(nn.Sequential(nn.Linear(5, 2), nn.ReLU()), 30)
    y = banked(torch.randn(30, 5, dtype=torch.float64), torch.arange(30) + 0.5)
    grad = torch.ones_like(y)
    y.backward(grad)
    assert torch.equal(grad, torch.ones_like(y))


def tiny(rows: int = 40) -> tuple[hg.Switch, hg.Switch, Tensor, Tensor]:
    banked, apart = pair(mlp(), 5)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return banked, apart, x, torch.rand(rows, generator=generator, dtype=torch.float64) * 4


def runs_in_bank(layer: hg.Switch, x: Tensor, key: Tensor) -> bool:
    assert layer._bank is not None
    index = layer.ranges.index(key)
    sizes = torch.bincount(index, minlength=layer.ranges.branches).tolist()
    return layer._bank.run(layer.branches, x, index, sizes, [i for i, size in enumerate(sizes) if size]) is not None


def test_moved_parameters_stay_the_optimizers_and_in_the_bank() -> None:
    banked, apart, x, key = tiny()
    assert runs_in_bank(banked, x, key)
    held = list(banked.parameters())
    held[0].grad = torch.ones_like(held[0])
    for layer in (banked, apart):
        layer.float()
    assert runs_in_bank(banked, x.float(), key)
    assert all(a is b for a, b in zip(held, banked.parameters(), strict=True))
    assert torch.equal(held[0].grad, torch.ones_like(held[0]))
    for layer in (banked, apart):
        layer.double()
    assert_same(banked, apart, x, key)
    banked.branch(1)[0].weight.data = torch.zeros(12, 5, dtype=torch.float64)
    apart.branch(1)[0].weight.data.zero_()
    assert_same(banked, apart, x, key)
    assert runs_in_bank(banked, x, key)


def test_a_replaced_parameter_or_layer_is_the_one_that_runs() -> None:
    banked, apart, x, key = tiny()
    for layer in (banked, apart):
        layer.branch(2)[0].weight = nn.Parameter(torch.ones(12, 5, dtype=torch.float64))
    assert_same(banked, apart, x, key)
    banked, apart, x, key = tiny()
    for layer in (banked, apart):
        layer.branch(3)[1] = nn.Tanh()
    assert_same(banked, apart, x, key)
    for layer in (banked, apart):
        torch.manual_seed(5)
        layer.branches[0] = mlp().double()
        layer.branches[2] = mlp().double()
        layer.branches[3] = mlp().double()
    assert_same(banked, apart, x, key)
    assert runs_in_bank(banked, x, key)


def test_hooks_and_autocast_and_transforms_run_the_branches() -> None:
    banked, _, x, key = tiny()
    seen: list[int] = []
    handles = [
        banked.branch(1).register_forward_hook(lambda *_: seen.append(1)),
        banked.branch(2)[0].register_forward_pre_hook(lambda *_: seen.append(2)),
        banked.branch(3)[0].weight.register_hook(lambda _: seen.append(3)),
        banked.branch(0)[0].bias.register_post_accumulate_grad_hook(lambda _: seen.append(0)),
    ]
    banked(x, key).sum().backward()
    assert sorted(seen) == [0, 1, 2, 3]
    for handle in handles:
        handle.remove()
    assert runs_in_bank(banked, x, key)
    with torch.autocast("cpu", torch.bfloat16):
        assert not runs_in_bank(banked, x, key)
    z = x.clone().requires_grad_()
    banked(z, key).square().sum().backward()
    found = torch.func.grad(lambda x: banked(x, key).square().sum())(x)
    torch.testing.assert_close(found, z.grad)


def test_a_hook_on_a_parameter_alone_fires() -> None:
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        banked, _, x, key = tiny()
        seen: list[str] = []
        getattr(banked.branch(1)[2].weight, register)(lambda _, seen=seen: seen.append("weight"))
        banked(x, key).sum().backward()
        assert seen == ["weight"]


def test_a_backward_hook_of_a_layer_fires() -> None:
    banked, _, x, key = tiny()
    seen: list[str] = []
    banked.branch(1)[2].register_full_backward_hook(lambda *_: seen.append("layer"))
    banked(x, key).sum().backward()
    assert seen == ["layer"]


def test_a_branch_moved_alone_runs_itself_however_often() -> None:
    banked, apart, x, key = tiny()
    other = torch.arange(8) % 2 * 2 + 0.5  # ranges 0 and 2, still in double precision
    for layer in (banked, apart):
        layer.branch(1).float()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="dtype"):
            banked(x, key)
        assert_same(banked, apart, x[:8], other)
    for layer in (banked, apart):
        layer.branch(1).double()
        nn.init.ones_(layer.branch(1)[0].weight)
    assert_same(banked, apart, x, key)
    assert runs_in_bank(banked, x, key)


def test_a_parameter_that_two_branches_share_stays_shared() -> None:
    torch.manual_seed(0)
    branches = [mlp().double() for _ in range(5)]
    branches[2][0].weight = branches[1][0].weight
    points = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    banked = hg.Switch(hg.Ranges(points), branches, bank=True)
    apart = hg.Switch(hg.Ranges(points), copy.deepcopy(nn.ModuleList(branches)))
    _, _, x, key = tiny()
    for layer in (banked, apart):
        with torch.no_grad():
            layer.branch(1)[0].weight.mul_(2)
    for _ in range(2):
        assert_same(banked, apart, x, key)
    first = banked(x, key).sum()
    banked(x, key)  # nothing that the first call's backward needs may move
    first.backward()


def test_copies_and_pickles_have_memory_of_their_own() -> None:
    banked, apart, x, key = tiny()
    for again in (copy.deepcopy(banked), pickle.loads(pickle.dumps(banked))):
        assert_same(again, apart, x, key)
        with torch.no_grad():
            for p in again.parameters():
                p.zero_()
        assert_same(banked, apart, x, key)
        again.load_state_dict(apart.state_dict())
        assert_same(again, apart, x, key)


def test_frozen_parameters_get_no_gradient() -> None:
    banked, apart, x, key = tiny()
    for layer in (banked, apart):
        layer.branch(1).requires_grad_(False)
        layer.branch(3)[0].weight.requires_grad_(False)
    assert_same(banked, apart, x, key)
    for layer in (banked, apart):
        layer.requires_grad_(False)
    assert_same(banked, apart, x, key)
    assert not banked(x, key).requires_grad
    for layer in (banked, apart):
        layer.float().double()
        layer.requires_grad_(True)
    assert_same(banked, apart, x, key)


def test_a_gradient_of_x_alone_leaves_the_weights_alone() -> None:
    banked, _, x, key = tiny()
    z = x.clone().requires_grad_()
    torch.autograd.grad(banked(z, key).sum(), z)
    assert all(p.grad is None for p in banked.parameters())
    banked(z, key).square().sum().backward()
    alone, _, _, _ = tiny()
    alone(x, key).square().sum().backward()
    for p, q in zip(banked.parameters(), alone.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or torch.equal(p.grad, q.grad)


def test_a_gradient_of_x_alone_is_not_handed_on_later() -> None:
    banked, _, x, key = tiny()
    z = x.clone().requires_grad_()
    first, second = banked(z, key).sum(), banked(z, key).square().sum()
    torch.autograd.grad(first, z)
    second.backward()
    alone, _, _, _ = tiny()
    alone(x, key).square().sum().backward()
    for p, q in zip(banked.parameters(), alone.parameters(), strict=True):
        assert p.grad is q.grad is None or torch.equal(p.grad, q.grad)


def test_a_graph_kept_gives_its_gradient_again() -> None:
    banked, _, x, key = tiny()
    loss = banked(x, key).square().sum()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in banked.parameters() if p.grad is not None]
    loss.backward()
    for grad, p in zip(once, (p for p in banked.parameters() if p.grad is not None), strict=True):
        assert torch.equal(p.grad, 2 * grad)


@pytest.mark.parametrize("reentrant", [True, False])
def test_an_activation_checkpoint_gives_the_same_gradient(reentrant: bool) -> None:
    banked, apart, x, key = tiny()
    x.requires_grad_()
    y = torch.utils.checkpoint.checkpoint(banked, x, key, use_reentrant=reentrant) + banked(x, key)
    y.square().sum().backward()
    (2 * apart(x, key)).square().sum().backward()
    for p, q in zip(banked.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("rows", [6, 40], ids=["picked", "in place"])
def test_weights_changed_before_the_backward_are_an_error(rows: int) -> None:
    banked, _, x, key = tiny(rows)
    optimizer = torch.optim.SGD(banked.parameters(), lr=0.1)
    banked(x, key).sum().backward()
    loss = banked(x, key).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_a_bank_does_not_do_is_said() -> None:
    banked, _, x, key = tiny()
    z = x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"bank has first derivatives only.*bank=False"):
        torch.autograd.grad(banked(z, key).sum(), z, create_graph=True)
    y = banked(z, key)
    with pytest.raises(RuntimeError, match=r"bank's backward takes one gradient at a time.*bank=False"):
        torch.autograd.grad(y, z, torch.stack([y.detach()] * 2), is_grads_batched=True)
    for branch in (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.GRU(2, 2)):
        with pytest.raises(ValueError, match=r"Linear and elementwise layers, got .* in branch 0; use bank=False"):
            hg.Switch(hg.Ranges([0, 1, 2]), branch, bank=True)
    with pytest.raises(ValueError, match=r"equal branches with a Linear layer, got .* for branch 1"):
        hg.Switch(hg.Ranges([0, 1, 2]), [nn.Linear(2, 2), nn.Linear(2, 2, bias=False)], bank=True)
    shared = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="a module of its own for each branch, got one twice"):
        hg.Switch(hg.Ranges([0, 1, 2]), [shared, shared], bank=True)
