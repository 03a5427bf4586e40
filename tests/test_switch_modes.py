"""The switch family under torch's modes, against plain autograd over one row after another."""

from __future__ import annotations

import copy
import io
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

import hardgrad as hg


@pytest.fixture(autouse=True)
def forget_graphs() -> None:
    torch._dynamo.reset()  # each switch is a recompilation of one forward, of which only eight are allowed


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))


def tree() -> hg.If:
    return hg.If(hg.Ranges([0, 1, 2]), ["a", hg.If(hg.Ranges([0, 1, 2]), ["b", "a"], key=1)])


def grid() -> hg.Grid:
    return hg.Grid(hg.Ranges([0, 1, 2]), hg.Ranges([0, 1, 2]), share=[[0, 1], [1, 2]])


MAKE: dict[str, Callable[[], hg.Switch]] = {
    "ranges": lambda: hg.Switch(hg.Ranges([0, 1, 2]), mlp()),
    "normalized": lambda: hg.Switch(hg.Ranges([0, 0.5, 2]), mlp(), normalize=[0]),
    "grid": lambda: hg.Switch(grid(), mlp()),
    "if": lambda: hg.Switch(tree(), mlp()),
    "learned": lambda: hg.Switch(hg.LearnedRanges([0, 0.7, 1.4, 2.0], band=1.0), mlp(), normalize=True),
    "embedding": lambda: hg.RangeEmbedding(hg.Ranges([0, 1, 2]), 3),
    "learned embedding": lambda: hg.RangeEmbedding(hg.LearnedRanges([0, 1, 2]), 3),
}


def made(kind: str, rows: int = 6) -> tuple[hg.Switch, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    switch = MAKE[kind]().double()
    key = torch.rand(rows, 2, dtype=torch.float64) * 2
    key = key if switch.ranges.keys else key[:, 0]
    return switch, (key if "embedding" in kind else torch.randn(rows, 2, dtype=torch.float64), key)


def gradients(switch: hg.Switch, *args: Tensor) -> dict[str, Tensor]:
    """Those of plain eager code, zeros for none."""
    switch.zero_grad()
    switch(*args).square().sum().backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in switch.named_parameters()}


def functional(switch: hg.Switch) -> Callable[..., Tensor]:
    return lambda weights, *args: functional_call(switch, weights, args).square().sum()


@pytest.mark.parametrize("backend", [None, "eager", "aot_eager"])
@pytest.mark.parametrize("kind", MAKE)
def test_gradients_of_each_row_under_vmap_are_those_of_a_loop(kind: str, backend: str | None) -> None:
    if backend == "aot_eager" and kind not in ("ranges", "learned"):
        return  # one of each way is enough for the slower one
    switch, args = made(kind)
    loss = functional(switch)
    each = vmap(
        grad(lambda weights, *row: loss(weights, *(part[None] for part in row))), in_dims=(None, *[0] * len(args))
    )
    each = each if backend is None else torch.compile(each, backend=backend)
    found = each(dict(switch.named_parameters()), *args)
    for i in range(len(args[0])):
        expected = gradients(switch, *(part[i : i + 1] for part in args))
        for name, value in expected.items():
            torch.testing.assert_close(found[name][i], value, rtol=1e-9, atol=1e-12, msg=f"row {i} {name}")


@pytest.mark.parametrize("backend", [None, "eager", "aot_eager"])
@pytest.mark.parametrize("kind", ["ranges", "if", "learned", "embedding"])
def test_a_functional_gradient_is_the_plain_one_compiled_or_not(kind: str, backend: str | None) -> None:
    # Compiled, torch differentiates a custom Function's forward: the points would silently get nothing.
    switch, args = made(kind)
    loss = grad(functional(switch))
    found = (loss if backend is None else torch.compile(loss, backend=backend))(dict(switch.named_parameters()), *args)
    for name, value in gradients(switch, *args).items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
        assert name != "ranges.inner" or value.abs().max() > 0


@pytest.mark.parametrize("kind", MAKE)
def test_forward_mode_is_the_transpose_of_backward(kind: str) -> None:
    switch, args = made(kind)
    weights = {name: parameter.detach() for name, parameter in switch.named_parameters()}
    tangents = {name: torch.randn_like(weight) for name, weight in weights.items()}
    y, moved = jvp(lambda weights: functional_call(switch, weights, args), (weights,), (tangents,))
    cotangent = torch.randn_like(y)
    (switch(*args) * cotangent).sum().backward()
    back = sum((p.grad * tangents[n]).sum() for n, p in switch.named_parameters() if p.grad is not None)
    torch.testing.assert_close((moved * cotangent).sum(), back)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(args[0], torch.ones_like(args[0]))
        assert forward_ad.unpack_dual(switch(dual, args[1])).tangent is not None


@pytest.mark.parametrize("kind", MAKE)
def test_batched_gradients_are_those_of_a_loop(kind: str) -> None:
    switch, (x, key) = made(kind)
    x = x.requires_grad_()
    y = switch(x, key)
    cotangents = torch.randn(3, *y.shape, dtype=y.dtype)
    leaves = [x, *switch.parameters()]
    options: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
    found = torch.autograd.grad(y, leaves, cotangents, is_grads_batched=True, **options)
    for i, cotangent in enumerate(cotangents):
        for one, other in zip(found, torch.autograd.grad(y, leaves, cotangent, **options), strict=True):
            assert other is None or torch.allclose(one[i], other, rtol=1e-12, atol=1e-12)


def test_a_branch_gets_nothing_outside_its_domain_under_vmap() -> None:
    # A logarithm of another branch's rows would be -inf or NaN, and its zero gradient NaN with it.
    class Log(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.log())

    torch.manual_seed(0)
    switch = hg.Switch(hg.Ranges([-1, 0, 1]), [nn.Linear(1, 1), Log(1, 1)])
    x = torch.tensor([[-0.5], [0.0], [0.5], [-1.0], [0.25]])
    x[1] = 0.1
    weights = dict(switch.named_parameters())
    loss = functional(switch)
    found = vmap(grad(lambda w, row, k: loss(w, row[None], k[None])), (None, 0, 0))(weights, x, x[:, 0])
    for i in range(len(x)):
        for name, value in gradients(switch, x[i : i + 1], x[i : i + 1, 0]).items():
            torch.testing.assert_close(found[name][i], value)


@pytest.mark.parametrize("kind", MAKE)
def test_a_nan_key_stays_nan_in_a_graph_and_trains_no_branch(kind: str) -> None:
    switch, (x, key) = made(kind)
    plain = copy.deepcopy(switch)
    bad = key.clone()
    bad[2] = math.nan
    if kind == "if":  # the second key is read in the second range of the first alone
        bad[:, 0] = torch.tensor([0.5, 0.5, 1.5, 1.5, 0.5, 1.5])
        bad[:, 1] = torch.tensor([math.nan, 0.5, math.nan, 0.5, 0.5, 1.5])
    rest = [0, 1, 3, 4, 5]
    y = torch.compile(switch, backend="aot_eager", fullgraph=True)(x, bad)
    assert y[2].isnan().all()
    assert not y[rest].isnan().any()
    torch.testing.assert_close(y[rest], plain(x[rest], bad[rest]))
    y.nansum().backward()
    plain(x[rest], bad[rest]).sum().backward()
    for p, q in zip(switch.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            torch.zeros_like(p) if p.grad is None else p.grad, torch.zeros_like(q) if q.grad is None else q.grad
        )
    with torch.no_grad():  # the visits are those of the rows that went somewhere, asked questions included
        plain.ranges.reset_counts(), plain(x[rest], bad[rest])
    counters = zip(switch.ranges.named_buffers(), plain.ranges.named_buffers(), strict=True)
    for (name, one), (_, other) in counters:
        assert torch.equal(one, other) or (kind, name) == ("if", "ranges.visits"), name  # row 2 did come to the first


class Together(nn.Module):
    """Several conditions in one graph, since an export takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        one = hg.Ranges([0.0, 2.0])
        self.one = hg.Switch(one, mlp())
        self.line = hg.Switch(hg.Grid(hg.Ranges([0, 1, 2]), hg.Ranges([0.0, 2.0])), mlp())
        self.question = hg.Switch(hg.If(hg.Ranges([0.0, 2.0]), ["all"]), mlp())
        self.tree = hg.Switch(tree(), mlp())
        self.learned = hg.Switch(hg.LearnedRanges([0, 0.7, 1.4, 2.0]), mlp(), normalize=[1])
        self.single = hg.Switch(hg.LearnedRanges([0.0, 2.0]), mlp())
        self.embedding = hg.RangeEmbedding(hg.LearnedRanges([0, 1, 2]), 3)

    def forward(self, x: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
        key = keys[:, 0]
        alone = (self.one, self.learned, self.single)
        several = (self.line, self.question, self.tree)
        return (*(s(x, key) for s in alone), *(s(x, keys) for s in several), self.embedding(key))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter, about itself
def test_single_ranges_learned_ranges_and_nan_in_onnxruntime() -> None:
    import onnxruntime

    torch.manual_seed(0)
    model = Together().eval()
    x, keys = torch.randn(8, 2), torch.rand(8, 2) * 2
    free = {0: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(model, (x, keys), dynamic_shapes=(free, free), dynamo=True, verbose=False)
    held = io.BytesIO()
    assert program is not None
    program.save(held)
    session = onnxruntime.InferenceSession(held.getvalue(), providers=["CPUExecutionProvider"])

    def run(x: Tensor, keys: Tensor) -> list[Tensor]:
        names = [each.name for each in session.get_inputs()]
        return [
            torch.from_numpy(y) for y in session.run(None, dict(zip(names, (x.numpy(), keys.numpy()), strict=True)))
        ]

    for n in (8, 3, 1):
        for got, expected in zip(run(x[:n], keys[:n]), model(x[:n], keys[:n]), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    expected, keys = model(x, keys), keys.clone()
    keys[4] = math.nan
    others = [0, 1, 2, 3, 5, 6, 7]
    for got, right in zip(run(x, keys), expected, strict=True):
        assert got[4].isnan().all()
        torch.testing.assert_close(got[others], right[others], rtol=1e-5, atol=1e-5)


class Kind(nn.Linear):
    """A layer that ends in a dtype of its own."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(2, 3)
        self.ends = dtype

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(self.ends)


@pytest.mark.parametrize(
    "kinds", [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float64), (torch.int64,) * 2]
)
@pytest.mark.parametrize("autocast", [False, True])
def test_branches_of_several_dtypes_give_one_in_eager_code_and_in_a_graph(
    kinds: tuple[torch.dtype, torch.dtype], autocast: bool
) -> None:
    torch.manual_seed(0)
    switch = hg.Switch(hg.Ranges([0, 1, 2]), [Kind(kinds[0]), Kind(kinds[1])])
    x, key = torch.randn(6, 2), torch.tensor([0.5, 1.5] * 3)
    bad = torch.where(torch.arange(6) == 3, math.nan, key)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = switch(x, key)
        compiled = torch.compile(switch, backend="eager", fullgraph=True)
        y, z = compiled(x, key), compiled(x, bad)
    assert y.dtype is expected.dtype is torch.promote_types(*kinds)
    torch.testing.assert_close(y, expected)
    assert (z[3] == 0).all() if kinds[0] is torch.int64 else z[3].isnan().all()
    torch.testing.assert_close(z[[0, 1, 2, 4, 5]], expected[[0, 1, 2, 4, 5]])


def test_an_embedding_keeps_its_dtype_under_autocast() -> None:
    x = torch.rand(5) * 2
    for ranges in (hg.Ranges([0, 1, 2]), hg.LearnedRanges([0, 1, 2])):
        layer = hg.RangeEmbedding(ranges, 3)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype is torch.float32
        torch.testing.assert_close(layer(x.double()), layer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("kind", MAKE)
def test_a_switch_built_without_memory_is_filled_from_a_checkpoint(kind: str, assign: bool) -> None:
    switch, (x, key) = made(kind)
    expected = switch(x, key)
    with torch.device("meta"):
        late = MAKE[kind]().double()
    assert repr(late)
    assert late(x.to("meta"), key.to("meta")).shape == expected.shape
    late = late if assign else late.to_empty(device="cpu")
    late.load_state_dict(switch.state_dict(), assign=assign)
    assert torch.equal(late(x, key), expected)
    for name, value in gradients(late, x, key).items():
        torch.testing.assert_close(value, gradients(switch, x, key)[name])


@pytest.mark.parametrize("kind", MAKE)
def test_copies_go_on_alike(kind: str) -> None:
    switch, args = made(kind)
    expected = gradients(switch, *args)
    whole = io.BytesIO()
    torch.save(switch, whole)
    whole.seek(0)
    copies = [copy.deepcopy(switch), pickle.loads(pickle.dumps(switch)), torch.load(whole, weights_only=False)]
    for other in copies:
        for name, value in gradients(other, *args).items():
            assert torch.equal(value, expected[name])
        torch.compile(other, backend="eager", fullgraph=True)(*(part[:1] for part in args)).sum().backward()
        other.drop_unvisited_grads()


def test_a_replica_of_data_parallel_routes_by_the_points_as_they_are() -> None:
    # What nn.parallel.replicate makes: parameters become plain attributes of a shallow copy.
    ranges = hg.LearnedRanges([0.0, 1.0, 2.0])
    with torch.no_grad():
        ranges.inner.fill_(1.5)
    replica = ranges._replicate_for_data_parallel()
    replica.inner = ranges.inner.clone()
    assert replica.points == (0.0, 1.5, 2.0)
    assert replica.index(torch.tensor([1.2])).tolist() == [0]


def test_training_goes_on_after_inference_mode() -> None:
    switch, (x, key) = made("learned")
    with torch.inference_mode():
        switch(x, key)
        switch.split(0, at=0.3)
        hg.switch.refine(switch, x, key, x[:, :1], lambda y, t: (y - t).square().sum(1), window=0.1)
    optimizer = torch.optim.SGD(switch.parameters(), lr=0.1)
    switch(x, key).square().sum().backward()
    optimizer.step()
    assert all(parameter.grad is not None for parameter in switch.branch(1).parameters()) or key.numel()
    assert switch.ranges.visits.sum() == 2 * len(key)


def normed() -> hg.Switch:
    torch.manual_seed(0)
    return hg.Switch(hg.Ranges([0, 1, 2]), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)))


def test_batch_norm_in_a_compiled_switch_sees_its_own_rows_alone() -> None:
    eager, compiled = normed(), normed()
    run = torch.compile(compiled, backend="eager")
    x, both, low = torch.randn(8, 2), torch.tensor([0.5, 1.5] * 4), torch.full((8,), 0.5)
    for key in (both, low):
        torch.manual_seed(1)
        eager(x, key).sum().backward()
        torch.manual_seed(1)
        run(x, key).sum().backward()
    for (name, one), (_, other) in zip(eager.state_dict().items(), compiled.state_dict().items(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    with pytest.raises(RuntimeError, match=r"Switch: branch 0 normalizes by the statistics of its batch"):
        torch.export.export(eager, (x, both))


def test_a_batch_without_rows_moves_no_statistics_and_draws_nothing() -> None:
    switch = normed()
    before, random = copy.deepcopy(switch.state_dict()), torch.get_rng_state()
    y = switch(torch.randn(0, 2), torch.rand(0))
    assert y.shape == (0, 3)
    assert switch.branch(0)[1].training
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in switch.state_dict().items():
        assert torch.equal(value, before[name]), name
    whole = hg.Switch(hg.Ranges([0, 1, 2]), [Kind(torch.int64), Kind(torch.int64)])
    assert whole(torch.randn(0, 2), torch.rand(0)).dtype is torch.int64
    loss = functional(switch.eval())
    found = grad(loss)(dict(switch.named_parameters()), torch.randn(0, 2), torch.rand(0))
    assert all((each == 0).all() for each in found.values())


def test_a_power_iteration_of_an_unvisited_branch_stands_still_in_a_graph() -> None:
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    switch = hg.Switch(hg.Ranges([0, 1, 2]), layer)
    x, low = torch.randn(4, 3), torch.full((4,), 0.5)
    before = [{name: value.clone() for name, value in branch.named_buffers()} for branch in switch.branches]
    torch.compile(switch, backend="aot_eager", fullgraph=True)(x, low)
    moved = [
        any(not torch.equal(value, old[name]) for name, value in branch.named_buffers())
        for branch, old in zip(switch.branches, before, strict=True)
    ]
    assert moved == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_normalized_column_is_that_of_float64_rounded_once(dtype: torch.dtype) -> None:
    points = [5 + i / 100 for i in range(5)]
    layer = hg.Switch(hg.Ranges(points), nn.Identity(), normalize=True)
    x = torch.linspace(5, 5.04, 300).to(dtype).clamp(5, 5.03)
    index = layer.ranges.index(x)
    low, high = (torch.tensor(points, dtype=torch.float64)[index + i] for i in (0, 1))
    expected = ((x.double() - (low + high) / 2) / ((high - low) / 2)).to(dtype)
    assert torch.equal(layer(x[:, None], x)[:, 0], expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["ranges", "learned"])
def test_a_trace_and_an_export_in_training_route(kind: str) -> None:
    switch, (x, key) = made(kind, 8)
    exported = torch.export.export(switch, (x, key)).module()
    traced = torch.jit.trace(switch.eval(), (x, key), check_trace=False)
    for other in (key, key.flip(0), torch.full_like(key, 0.5)):
        torch.testing.assert_close(exported(x, other), switch(x, other))
        torch.testing.assert_close(traced(x, other), switch(x, other))


@pytest.mark.parametrize("ranges", ["Ranges", "LearnedRanges"])
def test_building_on_the_meta_device_imports_no_compiler(ranges: str) -> None:
    """A model folder's weights are checked against shapes built there, at the start of every prediction."""
    program = (
        "import sys, torch, hardgrad as hg\n"
        "with torch.device('meta'):\n"
        f"    hg.Switch(hg.{ranges}([-1.0, 0.0, 1.0]), torch.nn.Linear(2, 1), normalize=[0], bank=True)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
