"""Networks and the one that picks them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from cases import HARD
from hardgrad import approximators, hard


def test_mlp_is_the_published_network() -> None:
    network = approximators.mlp(256, 256, hidden=(128, 128))
    assert [type(m) for m in network] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    # 256*128+128 + 128*128+128 + 128*256+256, counted from the published program's layer sizes
    assert sum(p.numel() for p in network.parameters()) == 82_432


def test_elementwise_sees_one_element_at_a_time() -> None:
    network, x = approximators.elementwise(8), torch.randn(2, 3, 4)
    jacobian = torch.autograd.functional.jacobian(lambda t: network(t).flatten(), x).view(24, 24)
    assert torch.equal(jacobian.count_nonzero(1), torch.ones(24, dtype=torch.int64))
    torch.testing.assert_close(network(x).flatten(), torch.stack([network(v) for v in x.flatten()]))


@pytest.mark.parametrize("positions", [True, False])
def test_sequence_follows_the_order_only_without_positions(positions: bool) -> None:
    network, x = approximators.sequence(2, 3, positions=positions).double(), torch.randn(2, 5, 2).double()
    shuffled = network(x.flip(1)).flip(1)
    assert torch.allclose(shuffled, network(x)) is not positions
    assert network(torch.randn(2, 9, 2).double()).shape == (2, 9, 3)


def test_conv_keeps_height_and_width() -> None:
    assert approximators.conv(3, 5, kernel_size=5)(torch.zeros(2, 3, 7, 6)).shape == (2, 5, 7, 6)


# Read off each function's definition, not off what suggest says.
WANTED = {
    "elementwise": ["sign", "step", "round", "quantize", "bernoulli"],
    "sequence without positions": ["binarize", "one_hot_argmax", "rank", "kmeans", "nearest_code"],
    "mlp": ["top_k", "sort", "permutation", "sort_rows_cols"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in WANTED.items() for name in names])
@pytest.mark.parametrize("seed", range(3))
def test_suggest_sees_what_the_function_is(kind: str, name: str, seed: int) -> None:
    x = torch.randn(8, *HARD[name].sample, generator=torch.Generator().manual_seed(seed))
    network = approximators.suggest(HARD[name].function, x)
    assert kind in network.reason
    assert network.reason in repr(network)
    assert network(x).shape == HARD[name].function(x).shape


def _blur(x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(x, 3, 1, 1).round()


@pytest.mark.parametrize(
    ("function", "shape", "wanted"),
    [
        (_blur, (2, 3, 9, 9), "conv"),
        (hard.sign, (2, 3, 9, 9), "elementwise"),
        (hard.binarize, (3, 256), "sequence without positions"),
        (lambda x: hard.bernoulli(x.sigmoid()), (4, 10), "elementwise"),
        (lambda x: x.cumsum(1).round(), (4, 6, 2), "sequence with positions"),
        (lambda x: hard.sort(x.flatten(1)), (2, 3, 4, 4), "mlp"),
        (lambda x: x.mean(1, keepdim=True).round(), (4, 10), "order of the input does not matter, (10,) to (1,): mlp"),
        (lambda x: hard.sign(x - torch.arange(10.0)), (4, 10), "mlp"),
    ],
)
def test_suggest_on_other_functions(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], wanted: str) -> None:
    x = torch.randn(shape)
    network = approximators.suggest(function, x)
    assert wanted in network.reason
    assert network(x).shape == function(x).shape


@pytest.mark.parametrize("example", [torch.zeros(4, 6), torch.randn(1, 6), torch.randn(4, 6).double()])
def test_suggest_works_from_a_poor_example(example: Tensor) -> None:
    assert "elementwise" in approximators.suggest(hard.sign, example).reason
    layer = hg.Bridge(hard.sort, approximators.suggest(hard.sort, example))
    layer(example.requires_grad_()).sum().backward()
    assert example.grad.isfinite().all()


def test_suggest_leaves_the_random_state_and_the_example_alone() -> None:
    example, before = torch.randn(4, 6), torch.get_rng_state()
    kept = example.clone()
    approximators.suggest(lambda x: hard.bernoulli(x.sigmoid()), example)
    assert torch.equal(example, kept)
    example_only = torch.get_rng_state()
    torch.set_rng_state(before)
    approximators.elementwise()  # the weights are drawn from the global state, the probes are not
    assert torch.equal(torch.get_rng_state(), example_only)


class _Keeps:
    """Sorts into memory that it keeps, and spoils its input."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        value = x.sort(1).values
        self.kept = value if self.kept is None or self.kept.shape != value.shape else self.kept.copy_(value)
        x.fill_(7.0)
        return self.kept


def test_suggest_is_not_misled_by_a_function_that_writes_in_place() -> None:
    example = torch.randn(8, 6)
    kept = example.clone()
    assert approximators.suggest(_Keeps(), example).reason == approximators.suggest(hard.sort, example).reason
    assert torch.equal(example, kept)


def test_suggest_counts_nothing_in_a_module() -> None:
    module = nn.Sequential(nn.BatchNorm1d(6), nn.Hardtanh())
    approximators.suggest(module, torch.randn(8, 6))
    assert module[0].num_batches_tracked == 0


def test_a_part_of_a_suggestion_is_one() -> None:
    network = approximators.suggest(hard.sort, torch.randn(4, 6))
    x = torch.randn(4, 6)
    assert torch.equal(network[2:](network[:2](x)), network(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: approximators.mlp(0, 2), "mlp: in_features must be at least 1, got 0"),
        (lambda: approximators.mlp(2, 2, hidden=(4, 0)), r"mlp: hidden\[1\] must be at least 1, got 0"),
        (lambda: approximators.mlp(3.0, 4), "mlp: in_features must be a whole number, at least 1, got float 3.0"),
        (lambda: approximators.mlp(True, 4), "mlp: in_features must be a whole number, at least 1, got bool True"),
        (lambda: approximators.mlp(3, "4"), "mlp: out_features must be a whole number, at least 1, got str '4'"),
        (lambda: approximators.mlp(3, 4, hidden=5), r"mlp: hidden must list the widths.*got 5; write \[5\]"),
        (lambda: approximators.mlp(3, 4, hidden=(n for n in (5, 0))), r"mlp: hidden\[1\] must be at least 1, got 0"),
        (lambda: approximators.mlp(3, 4, activation=nn.Tanh()), r"mlp: activation must make a new module.*Tanh\(\)"),
        (lambda: approximators.conv(3, 4, activation="tanh"), "conv: activation must make a new module.*'tanh'"),
        (lambda: approximators.elementwise(activation=list), "elementwise: activation must make a new module"),
        (lambda: approximators.sequence(1, 1, positions=1), "sequence: positions must be True or False, got int 1"),
        (
            lambda: approximators.sequence(1, 1, layers=None),
            "sequence: layers must be a whole number, at least 1, got NoneType",
        ),
        (lambda: approximators.suggest(5, torch.ones(2, 3)), "suggest: hard must be a function.*got int"),
        (lambda: approximators.suggest(hard.sign, [[1.0]]), "suggest: example must be a tensor, got list"),
        (
            lambda: approximators.suggest(hard.sign, torch.full((2, 3), torch.nan)),
            "suggest: example must hold.*got NaN",
        ),
        (lambda: approximators.suggest(hard.sign, torch.ones(2, 3, device="meta")), "suggest: example must.*meta"),
        (lambda: approximators.suggest(lambda x: x.tolist(), torch.ones(2, 3)), "suggest: hard must return a tensor"),
        (lambda: approximators.elementwise(4, layers=0), "elementwise: layers must be at least 1, got 0"),
        (lambda: approximators.conv(1, 1, kernel_size=4), "conv: kernel_size must be odd.*got 4"),
        (lambda: approximators.sequence(1, 1, width=6), "sequence: heads must divide width, got heads=4 and width=6"),
        (
            lambda: approximators.suggest(hard.sign, torch.zeros(3)),
            r"suggest: example must be a floating batch.*\(3,\)",
        ),
        (lambda: approximators.suggest(hard.sign, torch.ones(2, 3).long()), "suggest: example must be.*torch.int64"),
        (lambda: approximators.suggest(torch.sum, torch.ones(2, 3)), r"suggest: hard must keep the batch.*output \(\)"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
