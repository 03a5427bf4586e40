"""The switch against a plain loop over rows, and against separate models trained apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

POINTS = [-1.0, -0.4, 0.0, 0.7, 1.0]
OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.1),
}


def mlp(features: int = 3, width: int = 8, outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, outputs))


def switch(bank: bool = False, **kwargs: object) -> hg.Switch:
    torch.manual_seed(0)
    return hg.Switch(hg.Ranges(POINTS), mlp(), bank=bank, **kwargs).double()


def batch(rows: int, seed: int = 0, features: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return x, torch.rand(rows, generator=generator, dtype=torch.float64) * 2 - 1


def by_row(layer: hg.Switch, x: Tensor, key: Tensor) -> Tensor:
    """The published way: one row at a time through its branch."""
    return torch.cat([layer.branch(int(layer.ranges.index(k)))(row[None]) for row, k in zip(x, key, strict=True)])


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
@pytest.mark.parametrize("rows", [1, 2, 5, 40, 1000])
def test_values_and_gradients_are_those_of_the_loop_over_rows(bank: bool, rows: int) -> None:
    one, other = switch(bank), switch()
    x, key = batch(rows)
    xs = [x.clone().requires_grad_() for _ in range(2)]
    ys = [one(xs[0], key), by_row(other, xs[1], key)]
    torch.testing.assert_close(ys[0], ys[1], rtol=0, atol=1e-14)
    for y in ys:
        y.square().sum().backward()
    torch.testing.assert_close(xs[0].grad, xs[1].grad, rtol=0, atol=1e-12)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12 * rows)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_training_on_mixed_batches_is_training_separate_models(bank: bool, optimizer: str) -> None:
    layer = switch(bank)
    apart = [copy.deepcopy(branch) for branch in layer.branches]
    together = OPTIMISERS[optimizer](list(layer.parameters()))
    each = [OPTIMISERS[optimizer](list(model.parameters())) for model in apart]
    for step in range(30):
        x, key = batch(16 if step % 3 else 3, seed=step)
        target = x.sum(1, keepdim=True).sin() * key[:, None]
        together.zero_grad()
        (layer(x, key) - target).square().sum().backward()
        together.step()
        index = layer.ranges.index(key)
        for i, (model, its) in enumerate(zip(apart, each, strict=True)):
            mine = index == i
            if mine.any():  # a model trained apart has never heard of batches without rows of its own
                its.zero_grad()
                (model(x[mine]) - target[mine]).square().sum().backward()
                its.step()
    for i, model in enumerate(apart):
        for (name, p), q in zip(layer.branch(i).named_parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-12, msg=f"branch {i} {name}")
            state = together.state[p]
            if "step" in state:
                assert state["step"] == each[i].state[q]["step"]


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_a_range_that_no_row_visits_stays_bit_identical(bank: bool, optimizer: str) -> None:
    layer = switch(bank)
    optimizer = OPTIMISERS[optimizer](list(layer.parameters()))
    for step in range(8):
        x, key = batch(20, seed=step)
        before = copy.deepcopy(layer.branch(2).state_dict())
        if step >= 4:  # after momentum has built up, nobody visits branch 2
            key = torch.where(layer.ranges.index(key) == 2, 0.9, key)
        optimizer.zero_grad()
        layer(x, key).square().sum().backward()
        optimizer.step()
        same = [torch.equal(before[name], value) for name, value in layer.branch(2).state_dict().items()]
        assert all(same) if step >= 4 else not any(same)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_gradients_accumulate_over_batches(bank: bool) -> None:
    one, other = switch(bank), switch()
    for seed in range(3):
        x, key = batch(4, seed=seed)
        one(x, key).square().sum().backward()
        by_row(other, x, key).square().sum().backward()
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_a_switch_called_twice_in_one_backward_counts_both_calls(bank: bool) -> None:
    one, other = switch(bank), switch()
    x, key = batch(12)
    for layer, run in ((one, one), (other, lambda *args: by_row(other, *args))):
        assert layer.training
        (run(x, key).square().sum() * run(x.flip(0), key).sin().sum()).backward()
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_a_nan_row_spoils_its_own_branch_alone(bank: bool) -> None:
    layer = switch(bank)
    for rows in (6, 200):
        x, key = batch(rows)
        layer.zero_grad()
        x[0] = math.nan
        layer(x, key).square().sum().backward()
        spoilt = int(layer.ranges.index(key[0]))
        for i, branch in enumerate(layer.branches):
            for p in branch.parameters():
                assert p.grad is None or bool(p.grad.isnan().any()) == (i == spoilt)


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x[:, None]).relu().mean(2))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x[..., None])[0][:, -1])


def of_all_kinds(second: Callable[[], nn.Module] = Lstm) -> hg.Switch:
    torch.manual_seed(0)
    return hg.Switch(hg.Ranges(POINTS), [Conv(), second(), nn.Linear(9, 1), Conv()]).double()


def without_recurrence() -> hg.Switch:  # inductor does not compile an LSTM on a number of rows it does not know
    return of_all_kinds(lambda: mlp(9, 20, 1))


def test_branches_of_different_architectures_train_together() -> None:
    one, other = of_all_kinds(), of_all_kinds()
    x, key = batch(30, features=9)
    one(x, key).square().sum().backward()
    by_row(other, x, key).square().sum().backward()
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12)


def test_a_key_for_each_time_step_routes_each_time_step() -> None:
    layer = switch()
    x, key = batch(35)
    steps = layer(x.reshape(5, 7, 3), key.reshape(5, 7))
    torch.testing.assert_close(steps, layer(x, key).reshape(5, 7, 2))


def test_several_keys_route_through_a_grid() -> None:
    torch.manual_seed(0)
    layer = hg.Switch(hg.Grid(hg.Ranges([-1, 0, 1]), hg.Ranges([-1, 0, 1])), mlp()).double()
    x, key = batch(20)
    keys = torch.stack([key, key.flip(0)], 1)
    torch.testing.assert_close(layer(x, keys), by_row(layer, x, keys))


def test_the_key_may_be_a_column_or_a_function_of_x() -> None:
    x, _ = batch(20)
    x = x.clamp(-1, 1)
    by_hand = switch()(x, x[:, 1])
    torch.testing.assert_close(switch(key=1)(x), by_hand)
    torch.testing.assert_close(switch(key=lambda x: x[:, 1])(x), by_hand)


def test_the_key_gets_the_gradient_of_an_input_and_none_of_the_choice() -> None:
    x, _ = batch(6)
    x = x.clamp(-1, 1).requires_grad_()
    switch(key=0)(x).sum().backward()
    y = x.detach().clone().requires_grad_()
    by_row(switch(), y, y[:, 0]).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_normalized_columns_span_minus_one_to_one_in_every_range(bank: bool) -> None:
    layer = switch(bank, normalize=[0, 2])
    x, key = batch(50)
    index = layer.ranges.index(key)
    by_hand = x.clone()
    for row, i in enumerate(index.tolist()):
        low, high = POINTS[i], POINTS[i + 1]
        for column in (0, 2):
            by_hand[row, column] = 2 * (x[row, column] - low) / (high - low) - 1
    torch.testing.assert_close(layer(x, key), by_row(layer, by_hand, key))


def test_normalization_keeps_narrow_branches_alive() -> None:
    # Ranges a hundredth wide, five away from zero: 16 ReLUs a branch, 300 steps of Adam, seed 0. The mean squared error
    # relative to the target's variance was 0.31 without normalization and 1.9e-4 with.
    errors = {}
    for normalize in (False, True):
        torch.manual_seed(0)
        points = [5 + i / 100 for i in range(5)]
        branch = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))
        layer = hg.Switch(hg.Ranges(points), branch, key=0, normalize=normalize)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        x = torch.linspace(5, 5.04, 400)[:, None]
        target = (x * 300).sin()
        for _ in range(300):
            optimizer.zero_grad()
            loss = (layer(x) - target).square().mean()
            loss.backward()
            optimizer.step()
        errors[normalize] = loss.item() / target.var().item()
    assert errors[True] < 0.02 < 0.1 < errors[False]


def test_initial_weights_are_independent_or_identical() -> None:
    torch.manual_seed(0)
    branch = mlp()
    weights = [b[0].weight for b in hg.Switch(hg.Ranges(POINTS), branch).branches]
    assert len({tuple(w.flatten().tolist()) for w in [*weights, branch[0].weight]}) == 5
    weights = [b[0].weight for b in hg.Switch(hg.Ranges(POINTS), branch, init="identical").branches]
    assert all(torch.equal(w, branch[0].weight) and w is not branch[0].weight for w in weights)


def test_a_branchs_state_is_that_of_the_module_alone() -> None:
    layer = switch()
    model = mlp().double()
    model.load_state_dict(layer.branch(1).state_dict())
    x, _ = batch(5)
    assert torch.equal(model(x), layer(x, torch.full((5,), -0.2)))
    assert layer.branch(1) is layer.branches[1]


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_an_empty_batch_passes_and_touches_no_branch(bank: bool) -> None:
    layer = switch(bank)
    x, key = batch(0)
    y = layer(x.requires_grad_(), key)
    assert y.shape == (0, 2)
    y.sum().backward()
    assert all(p.grad is None for p in layer.parameters())
    assert layer(x.reshape(0, 4, 3), key.reshape(0, 4)).shape == (0, 4, 2)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
def test_autocast_and_low_precision_run(bank: bool) -> None:
    x, key = batch(20)
    expected = switch()(x, key)
    with torch.autocast("cpu", torch.bfloat16):
        y = switch(bank).float()(x.float(), key)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.double(), expected, rtol=0.05, atol=0.05)
    y = switch(bank).bfloat16()(x.bfloat16(), key)
    torch.testing.assert_close(y.double(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "make", [switch, without_recurrence, lambda: switch(bank=True)], ids=["equal", "kinds", "bank"]
)
def test_compiled_and_exported_graphs_route_batches_that_miss_ranges(make: Callable[[], hg.Switch]) -> None:
    layer = make().float()
    features = 9 if layer.branches[0].__class__ is Conv else 3
    x, key = (each.float() for each in batch(20, features=features))
    compiled = torch.compile(make().float(), fullgraph=True, backend="aot_eager")
    exported = torch.export.export(
        layer.eval(), (x, key), dynamic_shapes=({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    ).module()
    for k in (key, key[:7].abs(), torch.full((5,), 0.9)):
        expected = layer(x[: len(k)], k)
        torch.testing.assert_close(exported(x[: len(k)], k), expected)
        torch.testing.assert_close(compiled(x[: len(k)], k), expected)


# An LSTM assigns its flat weights while it is traced, of which torch.export warns.
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_an_exported_graph_routes_to_a_recurrent_branch() -> None:
    layer = of_all_kinds().float().eval()
    x, key = (each.float() for each in batch(20, features=9))
    free = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(layer, (x, key), dynamic_shapes=(free, free)).module()
    for k in (key, key[:7].abs(), torch.full((5,), -0.2)):
        torch.testing.assert_close(exported(x[: len(k)], k), layer(x[: len(k)], k))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_switch_has_the_gradients_of_the_eager_one(backend: str) -> None:
    x, key = batch(20)
    eager, compiled = switch(), switch()
    eager(x, key).square().sum().backward()
    torch.compile(compiled, fullgraph=True, backend=backend)(x, key).square().sum().backward()
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    assert torch.equal(eager.ranges.visits, compiled.ranges.visits)


def test_a_compiled_switch_lets_go_of_branches_that_no_row_visited() -> None:
    layer = switch()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    optimizer = OPTIMISERS["adamw"](list(layer.parameters()))
    apart, x = copy.deepcopy(layer), batch(20)[0]
    apart_optimizer = OPTIMISERS["adamw"](list(apart.parameters()))
    for seed in range(4):
        _, key = batch(20, seed=seed)
        key = key.abs() if seed > 1 else key
        for model, run, its in ((layer, compiled, optimizer), (apart, apart, apart_optimizer)):
            its.zero_grad()
            run(x, key).square().sum().backward()
            model.drop_unvisited_grads()
            its.step()
    for p, q in zip(layer.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter, about itself
def test_the_exported_onnx_graph_routes(tmp_path: object) -> None:
    import onnxruntime

    layer = switch(normalize=[0]).float().eval()
    x, key = (each.float() for each in batch(20))
    path = f"{tmp_path}/switch.onnx"
    free = {0: torch.export.Dim.DYNAMIC}
    torch.onnx.export(layer, (x, key), path, dynamic_shapes=(free, free), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_inputs()]
    for k in (key, key[:7].abs(), torch.full((3,), 1.0)):
        feed = dict(zip(names, (x[: len(k)].numpy(), k.numpy()), strict=True))
        (y,) = session.run(None, feed)
        torch.testing.assert_close(torch.from_numpy(y), layer(x[: len(k)], k))


def test_functional_transforms_see_the_weights() -> None:
    for bank in (False, True):
        layer = switch(bank)
        x, key = batch(20)
        parameters = {name: p.detach() for name, p in layer.named_parameters()}

        def loss(p: dict[str, Tensor], layer: hg.Switch = layer, x: Tensor = x, key: Tensor = key) -> Tensor:
            return torch.func.functional_call(layer, p, (x, key)).square().sum()

        found = torch.func.grad(loss)(parameters)
        by_row(layer, x, key).square().sum().backward()
        for name, p in layer.named_parameters():
            torch.testing.assert_close(found[name], p.grad)


def test_second_derivatives_of_a_switch_are_those_of_its_branches() -> None:
    x, key = batch(10)
    found = []
    for layer in (switch(), switch()):
        z = x.clone().requires_grad_()
        y = layer(z, key) if not found else by_row(layer, z, key)
        (g,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
        g.square().sum().backward()
        found.append([z.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        if a is not None or b is not None:
            torch.testing.assert_close(a, b)


def test_mistakes_are_named() -> None:
    x, key = batch(5)
    with pytest.raises(ValueError, match=r"one for each of the 4 ranges \(\[-1, -0.4\), .*\), got 2"):
        hg.Switch(hg.Ranges(POINTS), [mlp(), mlp()])
    with pytest.raises(ValueError, match="forward must be given a key"):
        switch()(x)
    with pytest.raises(ValueError, match=r"x's leading dimensions, got key \(4,\) and x \(5, 3\)"):
        switch()(x, key[:4])
    with pytest.raises(ValueError, match="init must be one of"):
        switch(init="same")
    uneven = hg.Switch(hg.Ranges([-1, 0, 1]), [nn.Linear(3, 1), nn.Linear(3, 2)]).double()
    with pytest.raises(ValueError, match=r"one shape for a row, got \(1,\) from branch 0 and \(2,\) from branch 1"):
        uneven(x, torch.tensor([-0.5, 0.5, 0.5, 0.5, 0.5]))
    with pytest.raises(ValueError, match="normalize needs finite points"):
        hg.Switch(hg.Ranges([-math.inf, 0, 1]), mlp(), normalize=True)
    with pytest.raises(ValueError, match="normalize needs Ranges of one key, got Grid"):
        hg.Switch(hg.Grid(hg.Ranges([0, 1])), mlp(), normalize=True)


def test_a_branch_that_cannot_draw_again_is_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

    with pytest.raises(ValueError, match=r"Own \(1\) has none"):
        hg.Switch(hg.Ranges(POINTS), nn.Sequential(nn.Linear(3, 3), Own()))
    assert len(hg.Switch(hg.Ranges(POINTS), Own(), init="identical").branches) == 4
