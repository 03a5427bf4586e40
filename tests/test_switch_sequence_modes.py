"""Layers along sequences and masked stacks, in every mode: the plain loop over rows and steps, or a sentence."""

from __future__ import annotations

import copy
import io
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

# Of torch's compiler, about its own questions where a graph breaks.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
BATCH, TIME, WIDTH = 4, 6, 3


def ranges() -> hg.Ranges:
    return hg.Ranges([0.0, 1.0, 2.0, 3.0])


class Own(nn.Module):
    """A module of one's own that writes into what it gets, may keep count, and may begin with batch statistics."""

    def __init__(self, norm: bool = False, counts: bool = False) -> None:
        super().__init__()
        self.counts = counts
        self.cell = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        self.register_buffer("runs", torch.zeros(()))

    def reset_parameters(self) -> None: ...

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.counts:
            self.runs += 1
        x = self.norm(x.mul_(2).transpose(1, 2)).transpose(1, 2)
        h = x.new_zeros(len(x), WIDTH) if state is None else state.mul_(1)[0]
        outputs = []
        for x_t in x.unbind(1):
            h = self.cell(torch.cat([x_t, h], 1)).tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), h[None]


class Doubles(nn.Module):
    """A layer of one's own that begins by writing into its rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


MASK = [[1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 1]]
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "shared": lambda: hg.RecurrentSwitch(ranges(), nn.GRU(WIDTH, WIDTH, batch_first=True), state="shared"),
    "per branch": lambda: hg.RecurrentSwitch(ranges(), nn.LSTM(WIDTH, WIDTH, batch_first=True), state="per_branch"),
    "reset": lambda: hg.RecurrentSwitch(ranges(), nn.RNN(WIDTH, WIDTH, batch_first=True), state="reset"),
    "own shared": lambda: hg.RecurrentSwitch(ranges(), Own(), state="shared"),
    "own reset": lambda: hg.RecurrentSwitch(ranges(), Own(), state="reset"),
    "kinds": lambda: hg.RecurrentSwitch(
        ranges(),
        [nn.GRU(WIDTH, WIDTH, batch_first=True), nn.RNN(WIDTH, WIDTH, batch_first=True), Own()],
        state="shared",
    ),
    "fade": lambda: hg.CrossFade(hg.Switch(ranges(), nn.Sequential(Doubles(), nn.Linear(WIDTH, WIDTH))), 2),
    "fade apart": lambda: hg.CrossFade(hg.Switch(ranges(), nn.Linear(WIDTH, WIDTH)), 2, train_old=False),
    "fade recurrent": lambda: hg.CrossFade(
        hg.RecurrentSwitch(ranges(), nn.GRU(WIDTH, WIDTH, batch_first=True), state="per_branch"), 2
    ),
    "mask": lambda: hg.LayerMask(
        [Doubles(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)], ranges(), MASK
    ),
}
SEQUENCES = [name for name in LAYERS if name != "mask"]
# Which of torch's modes cannot be: it raises what the layer or torch says of it, and never a wrong number.
NO_GRAPH = r"depends on the keys, which a compiled or exported graph cannot\s+read"
NO_VALUES = "depends on the keys, whose values torch.func.vmap and the meta device hide"


def layer_of(name: str) -> nn.Module:
    torch.manual_seed(1)
    return LAYERS[name]().double()


def data(batch: int = BATCH, time: int = TIME) -> tuple[Tensor, Tensor]:
    """No row of the last range."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(batch, time, WIDTH, generator=generator, dtype=torch.float64)
    key = torch.rand(batch, -(-time // 2), generator=generator).repeat_interleave(2, 1)[:, :time] * 2
    return x, key


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def loop(layer: Any, x: Tensor, key: Tensor) -> Tensor:
    """One row and one step at a time, each by a call of a branch, or of a masked layer."""
    rows = [_row(layer, x_row, key_row) for x_row, key_row in zip(x, key.long().tolist(), strict=True)]
    return torch.stack(rows)


def _row(layer: Any, x: Tensor, taken: list[int]) -> Tensor:
    if isinstance(layer, hg.LayerMask):
        return torch.cat([layer.branch(i)(x_t[None].clone()) for x_t, i in zip(x, taken, strict=True)])
    if isinstance(layer, hg.RecurrentSwitch):
        return _steps(layer, x, taken)
    outputs = []
    every = [_fading(layer, x, taken, i) for i in range(3)]
    for t, now in enumerate(taken):
        window = [taken[max(t - j, 0)] for j in range(layer.length + 1)]
        y = torch.zeros(WIDTH, dtype=x.dtype)
        for i in sorted(set(window)):
            part = every[i][t] if layer.train_old or i == now else every[i][t].detach()
            y = y + window.count(i) / (layer.length + 1) * part
        outputs.append(y)
    return torch.stack(outputs)


def _fading(layer: Any, x: Tensor, taken: list[int], i: int) -> list[Any]:
    """What branch i makes of the steps that it has a share in."""
    branch, state, outputs = layer.switch.branch(i), None, list[Any]()
    for t, x_t in enumerate(x):
        if i not in [taken[max(t - j, 0)] for j in range(layer.length + 1)]:
            outputs.append(None)
        elif isinstance(layer.switch, hg.Switch):
            outputs.append(branch(x_t[None].clone())[0])
        else:
            y, state = branch(x_t[None, None], state)
            outputs.append(y[0, 0])
    return outputs


def _steps(layer: Any, x: Tensor, taken: list[int]) -> Tensor:
    states: list[Any] = [None] * 3
    before, outputs = None, []
    for x_t, i in zip(x, taken, strict=True):
        if layer.state == "shared" and before is not None:
            states[i] = states[before]
        if layer.state == "reset" and i != before:
            states[i] = None
        state = None if states[i] is None else copy_of(states[i])
        y, states[i] = layer.branch(i)(x_t[None, None].clone(), state)
        outputs.append(y[0, 0])
        before = i
    return torch.stack(outputs)


def copy_of(state: Any) -> Any:
    return state.clone() if isinstance(state, Tensor) else tuple(map(copy_of, state))


def expected(name: str) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """The loop's output, and the gradients of its squares, of x and of the parameters."""
    layer, (x, key) = layer_of(name), data()
    x.requires_grad_()
    y = loop(layer, x, key)
    y.square().sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad, [p.grad for p in layer.parameters()]


def check(name: str, layer: nn.Module, x: Tensor, y: Tensor, *, zeros: bool = False) -> None:
    """Compare an output, and the gradients of its squares, with those of the loop."""
    y.square().sum().backward()
    value, slope, wanted = expected(name)
    torch.testing.assert_close(y.detach(), value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(x.grad, slope, rtol=1e-9, atol=1e-11)
    for parameter, grad in zip(layer.parameters(), wanted, strict=True):
        if grad is None and zeros and parameter.grad is not None:
            assert not parameter.grad.any()
            continue
        assert (parameter.grad is None) == (grad is None)
        if grad is not None:
            torch.testing.assert_close(parameter.grad, grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS)
def test_training_and_evaluating_are_the_loop_and_write_into_nothing(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    given = x.clone(), key.clone()
    value = expected(name)[0]
    x.requires_grad_()
    check(name, layer, x, first(layer(x, key)))
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(first(layer.eval()(x, key)), value)
    assert torch.equal(x.detach(), given[0])
    assert torch.equal(key, given[1])


@pytest.mark.parametrize("name", LAYERS)
def test_inference_first_then_training(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    with torch.inference_mode():
        layer(x, key)
        layer.eval()(x[:2], key[:2])
    layer.train()
    x.requires_grad_()
    check(name, layer, x, first(layer(x, key)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_checkpoint_runs_it_again_and_counts_once(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    x.requires_grad_()
    check(name, layer, x, first(checkpoint(layer, x, key, use_reentrant=False)))
    visits = next(module.visits for module in layer.modules() if isinstance(module, hg.switch.PointRouter))
    assert int(visits.sum()) == BATCH * TIME


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_with_breaks_is_eager_and_without_breaks_right_or_said(name: str) -> None:
    torch._dynamo.reset()
    layer, (x, key) = layer_of(name), data()
    x.requires_grad_()
    check(name, layer, x, first(torch.compile(layer, backend="eager")(x, key)), zeros=True)
    torch._dynamo.reset()
    whole, (x, key) = layer_of(name), data()
    compiled = torch.compile(whole, backend="eager", fullgraph=True)
    if name == "mask":
        check(name, whole, x.requires_grad_(), compiled(x, key), zeros=True)
    else:
        with pytest.raises(Exception, match=NO_GRAPH):
            compiled(x, key)
        with pytest.raises(RuntimeError, match=NO_GRAPH):
            torch.export.export(whole, (x, key))


@pytest.mark.parametrize("name", LAYERS)
def test_transforms_of_torch_func(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    value, slope, wanted = expected(name)

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return first(torch.func.functional_call(layer, parameters, (x, key))).square().sum()

    found, of_x = torch.func.grad(loss, (0, 1))({n: p.detach() for n, p in layer.named_parameters()}, x)
    torch.testing.assert_close(of_x, slope)
    for grad, other in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(grad, torch.zeros_like(grad) if other is None else other)
    layer.eval()
    many = torch.func.vmap(lambda x: first(layer(x, key)))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(many, torch.stack([value, first(layer(2 * x, key))]))
    forward = torch.func.jvp(lambda x: first(layer(x, key)).square().sum(), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(forward, slope.sum())
    if name != "mask":
        with pytest.raises(RuntimeError, match=NO_VALUES):
            torch.func.vmap(lambda x, key: first(layer(x[None], key[None])))(x, key)
        return
    alone = torch.func.vmap(torch.func.grad(lambda x, key: layer(x[None], key[None]).square().sum()))(x, key)
    torch.testing.assert_close(alone, slope)


@pytest.mark.parametrize("name", LAYERS)
def test_many_gradients_at_once(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    y = first(layer(x.requires_grad_(), key)).flatten()[-4:]
    over = [x, *(p for p in layer.parameters())]
    each = [torch.autograd.grad(one, over, retain_graph=True, allow_unused=True) for one in y]
    found = torch.autograd.grad(y, over, torch.eye(4, dtype=y.dtype), is_grads_batched=True, allow_unused=True)
    for number, grad in enumerate(found):
        if grad is not None:
            torch.testing.assert_close(grad, torch.stack([one[number] for one in each]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAYERS)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """A few roundings, of 2 ** -9 or 2 ** -12, of numbers below 4."""
    layer, (x, key) = layer_of(name).to(dtype), data()
    wide = layer_of(name)
    wide.load_state_dict(layer.state_dict())
    y = first(layer(x.to(dtype), key))
    assert y.dtype is dtype
    error = (y.double() - loop(wide, x.to(dtype).double(), key)).abs().max()
    assert error < 20 * torch.finfo(dtype).eps
    layer.float()
    with torch.autocast("cpu", dtype):
        whole, one = first(layer(x.float(), key)), first(layer(x[:1].float(), key[:1]))
    assert whole.dtype is one.dtype
    assert (whole.double() - loop(wide, x.double(), key)).abs().max() < 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", LAYERS)
def test_copies_files_and_the_meta_device(name: str) -> None:
    layer, (x, key) = layer_of(name).eval(), data()
    value, state = layer(x, key) if name != "mask" else (layer(x, key), None)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    with torch.device("meta"):
        late = [LAYERS[name]().double() for _ in range(2)]
    late[0].to_empty(device="cpu").load_state_dict(layer.state_dict())
    late[1].load_state_dict(layer.state_dict(), assign=True)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False), *late]
    for twin in twins:
        assert torch.equal(first(twin.eval()(x, key)), value)
    if state is None:
        assert layer.to("meta")(x.to("meta"), key.to("meta")).shape == value.shape
        return
    for travelled in (copy.deepcopy(state.detach()), pickle.loads(pickle.dumps(state.detach()))):
        assert torch.equal(first(layer(x, key, travelled)), first(layer(x, key, state)))
    with pytest.raises(RuntimeError, match=NO_VALUES):
        layer.to("meta")(x.to("meta"), key.to("meta"))


def replica_of(module: nn.Module) -> nn.Module:
    """As ``torch.nn.DataParallel`` makes one, which has no parameters, only tensors in their places."""
    parts = {part: part._replicate_for_data_parallel() for part in module.modules()}
    for part, replica in parts.items():
        replica._former_parameters = {name: p * 1 for name, p in part._parameters.items() if p is not None}
        for name, tensor in replica._former_parameters.items():
            setattr(replica, name, tensor)
        for name, child in part._modules.items():
            if child is not None:
                setattr(replica, name, parts[child])
    return parts[module]


@pytest.mark.parametrize("name", LAYERS)
def test_replicas(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    x.requires_grad_()
    check(name, layer, x, first(replica_of(layer)(x, key)), zeros=True)
    layer = layer_of(name).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert first(replica_of(layer)(x.bfloat16(), key)).isfinite().all()


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_of_no_rows(name: str) -> None:
    layer, (x, key) = layer_of(name), data()
    before = {n: b.clone() for n, b in layer.named_buffers()}
    fired, seed = [], torch.get_rng_state()
    for module in layer.modules():
        if not isinstance(module, hg.CrossFade | hg.Switch | hg.RecurrentSwitch | hg.LayerMask):
            module.register_forward_hook(lambda *_: fired.append(1))
    empty = first(layer(x[:0].requires_grad_(), key[:0]))
    empty.sum().backward()
    assert empty.shape == (0, TIME, WIDTH)
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert all(torch.equal(buffer, before[n]) for n, buffer in layer.named_buffers())
    assert torch.equal(torch.get_rng_state(), seed)
    assert not fired or name in ("fade", "fade apart")  # whose Switch asks a branch, in evaluation mode
    x, key = data(1, 1)
    torch.testing.assert_close(first(layer(x, key)), loop(layer, x, key))
    x, key = data(2, 400)
    torch.testing.assert_close(first(layer.eval()(x, key)), loop(layer, x, key))


# What a layer must not do to a branch that no row went through.


@pytest.mark.parametrize("state", ["shared", "per_branch", "reset"])
@pytest.mark.parametrize("norm", [False, True])
def test_a_branch_that_no_step_took_does_not_run(state: Any, norm: bool) -> None:
    switch = hg.RecurrentSwitch(ranges(), Own(norm, counts=True), state=state, init="identical")
    fired, seed = [], torch.get_rng_state()
    switch.branch(1).register_forward_hook(lambda *_: fired.append(1))
    buffers = copy.deepcopy(switch.branch(1).state_dict())
    memory = None
    for _ in range(3):
        _, memory = switch(torch.ones(4, 6, WIDTH), torch.full((4, 6), 0.5), memory)
    assert switch.branch(0).runs == 3
    assert not fired
    assert torch.equal(torch.get_rng_state(), seed)
    assert all(torch.equal(value, buffers[n]) for n, value in switch.branch(1).state_dict().items())


def test_one_step_of_a_norm_of_the_batch_is_named() -> None:
    switch = hg.RecurrentSwitch(ranges(), Own(True), state="shared", init="identical")
    with pytest.raises(ValueError, match=r"branch 0 \(Own\) got one step of one sequence.*use a norm without"):
        switch(torch.ones(1, 2, WIDTH), torch.tensor([[0.5, 1.5]]))


def test_an_old_branch_that_does_not_train_keeps_its_statistics() -> None:
    """Its own two steps move them; without ``train_old`` the two of the fade do not."""
    x = torch.arange(12.0).reshape(1, 4, 3)
    switch = hg.Switch(hg.Ranges([0, 1, 2]), nn.BatchNorm1d(3))
    hg.CrossFade(switch, 2, train_old=False)(x, torch.tensor([[0.5, 0.5, 1.5, 1.5]]))
    torch.testing.assert_close(switch.branch(0).running_mean, 0.1 * x[0, :2].mean(0))
    assert switch.branch(0).num_batches_tracked == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_masked_layers_without_rows_keep_what_they_know(compiled: bool) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            return x * self.weight

    torch._dynamo.reset()
    layer = hg.LayerMask([Counts(), Counts()], hg.Ranges([0, 1, 2]), [[1, 1], [0, 1]])
    run = torch.compile(layer, backend="eager", fullgraph=True) if compiled else layer
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    run(torch.ones(3, 2), torch.full((3,), 1.5)).sum().backward()
    run(torch.ones(3, 2), torch.full((3,), 1.2)).sum().backward()
    with torch.no_grad():
        run(torch.ones(3, 2), torch.full((3,), 0.5))  # validation is no visit
    layer.drop_unvisited_grads()
    optimizer.step()
    assert [float(each.runs) for each in layer.layers] == [1, 3]
    assert layer.layers[0].weight == 1
    assert layer.layers[1].weight != 1


def test_statistics_of_a_graph_are_refused_where_it_must_not_break() -> None:
    torch._dynamo.reset()
    layers = [nn.Linear(2, 2), nn.BatchNorm1d(2)]
    layer = hg.LayerMask(layers, hg.Ranges([0, 1, 2]), [[1, 1], [1, 0]])
    x, key = torch.randn(4, 2), torch.full((4,), 1.5)
    with pytest.raises(Exception, match=r"layer 1 \(BatchNorm1d\) normalizes by the statistics of its batch"):
        torch.compile(layer, backend="eager", fullgraph=True)(x, key)
    torch._dynamo.reset()
    torch.compile(layer, backend="eager")(x, key)
    assert layer.layers[1].num_batches_tracked == 0
    with pytest.raises(RuntimeError, match=r"layer 1 \(BatchNorm1d\) normalizes"):
        torch.func.vmap(lambda x, key: layer(x[None], key[None]))(x, key)


def test_a_key_without_a_number_stays_without_one_where_none_can_raise() -> None:
    torch._dynamo.reset()
    layer, (x, key) = layer_of("mask"), data()
    value = layer(x, key)
    key[0, 1] = torch.nan
    y = torch.compile(layer, backend="eager", fullgraph=True)(x, key)
    assert y[0, 1].isnan().all()
    y[0, 1] = value[0, 1]
    torch.testing.assert_close(y, value)


def test_a_generator_of_its_own_goes_along_and_is_refused_in_a_checkpoint() -> None:
    torch._dynamo.reset()
    generator = torch.Generator().manual_seed(3)
    layer = hg.LayerMask([nn.Linear(2, 2)], hg.Ranges([0, 1]), dropout=0.5, generator=generator)
    x, key = torch.randn(8, 2, requires_grad=True), torch.rand(8)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    wanted = layer(x, key)
    assert torch.equal(twins[0](x, key), wanted)
    assert torch.equal(twins[1](x, key), wanted)
    assert torch.equal(torch.compile(twins[2], backend="eager")(x, key), wanted)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="a graph cannot draw from a generator of the layer's own"):
        torch.compile(layer, backend="eager", fullgraph=True)(x, key)
    with pytest.raises(RuntimeError, match="an activation checkpoint runs the layer again"):
        checkpoint(layer, x, key, use_reentrant=False).sum().backward()


# What branches and layers return.


class Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor, *_: Any) -> Any:
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x, r"branch 0 \(Returns\) must return y \(B, T, H\) and its state, got Tensor"),
        (lambda x: (x, x, x), "must return y .* got tuple of 3"),
        (lambda x: ("y", x), "must return y .* got tuple of 2"),
        (lambda x: (x[:, 0], x), r"must return y \(B, T, H\) = \(2, 3, 'H'\), got \(2, 3\)"),
        (lambda x: (x, None), "must return a state .* got NoneType"),
        (lambda x: (x, x), r"must return a state .* with the batch, 2, in dimension 1"),
    ],
)
def test_recurrent_branches_that_return_something_else(make: Callable[[Tensor], Any], message: str) -> None:
    for state in ("shared", "per_branch", "reset"):
        switch = hg.RecurrentSwitch(hg.Ranges([0, 1]), Returns(make), state=state)
        with pytest.raises(ValueError, match=message):
            switch(torch.randn(2, 3, 3), torch.rand(2, 3))


@pytest.mark.parametrize("mask", [[[1], [1]], [[1], [0]]])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: (x, x), r"layer 0 \(Returns\) must return one tensor, got tuple"),
        (lambda x: x.sum(), "must return one output a row"),
        (lambda x: x[:1], r"must return one output a row, 4 of them, got \(1, 2\)"),
    ],
)
def test_masked_layers_that_return_something_else(mask: Any, make: Callable[[Tensor], Any], message: str) -> None:
    layer = hg.LayerMask([Returns(make)], hg.Ranges([0, 1, 2]), mask)
    for key in (torch.full((4,), 0.5), torch.tensor([0.5, 1.5, 0.5, 0.5, 0.5])):
        with pytest.raises(ValueError, match=message.replace("4", "[45]")):
            layer(torch.randn(len(key), 2), key)


def test_a_branch_without_a_tensor_is_named_by_inspect() -> None:
    switch = hg.Switch(hg.Ranges([0, 1]), Returns(lambda x: (x, x)))
    with pytest.raises(ValueError, match=r"inspect: branch 0 \(Returns\) must return one tensor, got tuple"):
        hg.switch.inspect(switch, torch.randn(4, 2), torch.rand(4))


def test_states_of_several_shapes_are_named() -> None:
    class Wide(Own):
        def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y = x if state is None else x + state[0, :, :3].unsqueeze(1)
            return y, x.new_zeros(1, len(x), 5) if state is None else state

    both = torch.tensor([[0.5, 1.5], [1.5, 0.5]])
    for one, other in ((Own(), Wide()), (Wide(), Own())):
        switch = hg.RecurrentSwitch(hg.Ranges([0, 1, 2]), [one, other], state="shared")
        with pytest.raises(ValueError, match="hands one state from branch to branch"):
            switch(torch.randn(2, 2, 3), both)


# Other processes.


def test_a_process_that_is_spawned() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = hg.LayerMask([nn.Linear(2, 2)], hg.Ranges([0, 1]), dropout=0.5, generator=generator)
    x, key = torch.randn(2, 8, 2), torch.rand(2, 8)
    fade = hg.CrossFade(hg.RecurrentSwitch(ranges(), nn.GRU(2, 2, batch_first=True), state="per_branch"), 2)
    with mp.get_context("spawn").Pool(1) as pool:
        for layer in (mask.requires_grad_(False), fade.requires_grad_(False)):
            found = pool.apply(operator.call, (layer, x, key))
            assert torch.equal(first(found), first(layer(x, key)))


# Half precision, weights by hand.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("steps", [2, 6])
def test_a_fade_in_half_precision_is_rounded_once(dtype: torch.dtype, steps: int) -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, self.value)

    switch = hg.Switch(hg.Ranges([0, 1, 2]), [Constant(1.0), Constant(3.0)])
    key = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)) * 2
    wanted = [
        [sum(1.0 + 2.0 * row[max(t - j, 0)] for j in range(steps + 1)) / (steps + 1) for t in range(50)]
        for row in key.long().tolist()
    ]
    y, _ = hg.CrossFade(switch, steps)(torch.zeros(3, 50, dtype=dtype), key)
    assert torch.equal(y, torch.tensor(wanted, dtype=torch.float64).float().to(dtype))


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_branches_together_round_their_outputs_once(kind: Any) -> None:
    switch = hg.RecurrentSwitch(ranges(), kind(WIDTH, WIDTH, batch_first=True), state="per_branch").bfloat16()
    wide = copy.deepcopy(switch).double()
    x, key = data(3, 200)
    x = x.bfloat16()
    found, _ = switch(x, key)
    wanted, _ = wide(x.double(), key)
    assert ((found.double() - wanted).abs() <= 2.0**-8 * wanted.abs() + 1e-6).all()
