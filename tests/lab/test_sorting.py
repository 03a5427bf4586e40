"""Neural sorting: data, networks, measure and presets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.config import PRESETS, SYSTEMS, Sorting, System, configure
from hardgrad_lab.experiments.bridges.sorting.data import (
    FixedRows,
    FreshRows,
    held_out,
    move_close,
    order,
    training_rows,
)
from hardgrad_lab.experiments.bridges.sorting.networks import all_or_none, build, is_teacher_forced, sorting_loss
from hardgrad_lab.experiments.bridges.sorting.pointers import Attention, PointerNetwork, ReadProcessWrite
from hardgrad_lab.experiments.bridges.sorting.run import begin
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

CPU = torch.device("cpu")
Tiny = Callable[..., Sorting]
ALL = [*get_args(System)]
FIXED = {"fixed_rows": 100, "near_ties": 0.0}


# ------------------------------------------------------------------------------------------------------------ data


def test_near_ties_move_one_number_of_the_asked_share_of_rows_close_to_another() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4000, 6, generator=generator)
    moved = move_close(x, 0.75, generator)
    assert torch.equal(moved[3000:], x[3000:])
    changed = moved[:3000] != x[:3000]
    assert (changed.sum(1) == 1).all()
    assert moved.min() >= 0
    assert moved.max() <= 1
    # The moved number stands within 0.1 of one that was not moved, half of them within 10^-2.5: log-uniform over
    # three decades. 3000 draws have a standard deviation of 0.9 % there, and chance neighbours add 2 at most.
    kept = moved[:3000].masked_fill(changed, torch.inf)
    nearest = (kept - moved[:3000][changed].unsqueeze(1)).abs().min(1).values
    assert nearest.max() <= 0.1 + 1e-6
    assert nearest.min() >= 0
    assert (nearest < 10**-2.5).float().mean().item() == pytest.approx(0.51, abs=0.05)
    assert torch.equal(move_close(x, 0.0, generator), x)


def test_the_papers_own_example() -> None:
    # Section IV-A: [0.6, 0.234, 0.9812] maps to one-hot rows 1, 0, 2.
    assert order(torch.tensor([[0.6, 0.234, 0.9812]])).tolist() == [[1, 0, 2]]


def test_the_target_sorts_what_was_drawn(tiny: Tiny) -> None:
    inputs, target = FreshRows(tiny(length=7, batch=50), 0, CPU).batch()
    for row, places in zip(inputs.tolist(), target.tolist(), strict=True):
        assert [row[place] for place in places] == sorted(row)


def test_draws_are_uniform_and_centred_only_on_request(tiny: Tiny) -> None:
    # The mean of 64,000 draws of U(0, 1) has a standard deviation of sqrt(1/12/64000) = 0.0011: five of them here.
    for centre, middle in ((False, 0.5), (True, 0.0)):
        inputs, _ = FreshRows(tiny(length=8, batch=8000, center_inputs=centre, near_ties=0.0), 0, CPU).batch()
        assert inputs.mean().item() == pytest.approx(middle, abs=0.0057)
        assert middle - 0.5 <= inputs.min() < middle - 0.49
        assert middle + 0.49 < inputs.max() <= middle + 0.5


def rows_of(batches: list[tuple[Tensor, Tensor]]) -> set[tuple[float, ...]]:
    return {tuple(row) for inputs, _ in batches for row in inputs.tolist()}


def test_no_row_is_shared_between_seeds_or_with_the_test_set(tiny: Tiny) -> None:
    config = tiny(batch=100)
    streams = [FreshRows(config, seed, CPU) for seed in (0, 1)]
    parts = [rows_of([stream.batch() for _ in range(3)]) for stream in streams]
    parts += [
        rows_of([held_out(config, CPU)]),
        rows_of([FixedRows(replace(config, fixed_rows=300, near_ties=0.0), 2, CPU).batch()]),
    ]
    assert [len(part) for part in parts] == [300, 300, 200, 100]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(parts, 2))


def test_the_same_seed_draws_the_same_rows(tiny: Tiny) -> None:
    first, second = (FreshRows(tiny(), 5, CPU).batch() for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(held_out(tiny(), CPU)[0], held_out(tiny(samples=32), CPU)[0])


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_fixed_rows_come_once_an_epoch_in_a_new_order(tiny: Tiny, drop_last: bool, sizes: list[int]) -> None:
    stream = FixedRows(tiny(batch=4, fixed_rows=10, near_ties=0.0, drop_last=drop_last), 0, CPU)
    epochs = [[stream.batch() for _ in sizes] for _ in range(3)]
    assert [[len(inputs) for inputs, _ in epoch] for epoch in epochs] == [sizes] * 3
    assert all(len(rows_of(epoch)) == sum(sizes) for epoch in epochs), "no row twice in an epoch"
    assert len(rows_of([batch for epoch in epochs for batch in epoch])) == 10
    firsts = [epoch[0][0].tolist() for epoch in epochs]
    assert firsts[0] != firsts[1] != firsts[2]


@pytest.mark.parametrize("given", [{}, FIXED, {**FIXED, "drop_last": True}], ids=str)
def test_a_stream_goes_on_where_its_state_was_taken(tiny: Tiny, given: dict[str, Any]) -> None:
    config = tiny(**given)
    stream = training_rows(config, 0, CPU)
    for _ in range(8):
        stream.batch()
    state = stream.state_dict()
    ahead = [stream.batch()[0] for _ in range(6)]
    other = training_rows(config, 0, CPU)
    other.load_state_dict(state)
    assert all(torch.equal(other.batch()[0], expected) for expected in ahead)


def test_drop_last_makes_the_published_test_set() -> None:
    # 20 % of 2 million, in whole batches of 1024: 390 * 1024.
    inputs, target = held_out(configure("published", "signum-dense", 5, {}), CPU)
    assert inputs.shape == target.shape == (399_360, 5)
    assert inputs.min() >= 0


# -------------------------------------------------------------------------------------------------------- networks


def test_signum_dense_has_the_published_layers() -> None:
    model = build(configure("published", "signum-dense", 10, {}))
    shapes = [tuple(parameter.shape) for name, parameter in model.named_parameters() if name.endswith("weight")]
    approximator = [(128, 256), (128, 128), (256, 128)]
    assert shapes == [(128, 10), (128, 128), (256, 128), *approximator, (100, 256)]


def test_the_hard_layer_puts_out_three_values(tiny: Tiny) -> None:
    model = build(tiny(surrogate="straight-through", margin=0.1))
    assert isinstance(model, torch.nn.Sequential)
    x = 5 * torch.randn(500, 3)
    soft, hard = model[:6](x), model[:7](x)
    expected = [[(value > 0.1) - (value < -0.1) for value in row] for row in soft.tolist()]
    assert hard.tolist() == expected
    assert set(hard.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("system", ["tanh-dense", "elu-dense"])
def test_the_dense_baselines_have_no_hard_layer(tiny: Tiny, system: System) -> None:
    model = build(tiny(system))
    kinds = {"tanh-dense": torch.nn.Tanh, "elu-dense": torch.nn.ELU}
    activations = [type(module) for module in model if not isinstance(module, torch.nn.Linear | torch.nn.Unflatten)]
    assert activations == [kinds[system]] * 3


@pytest.mark.parametrize("system", ALL)
def test_every_system_gives_logits_and_learns(tiny: Tiny, system: System) -> None:
    torch.manual_seed(0)
    margin = {"margin": 0.05} if system == "signum-rnn" else {}
    plain = {"optimizer": "adam", "lr": 1e-2, "schedule": "constant", "near_ties": 0.0}
    config = tiny(system, samples=32 * 60, evaluations=1, width=32, **plain, **margin)
    training, _ = begin(config, 0, CPU)
    losses = []
    for _ in range(60):
        training.step(training.loss, config.clip)
        losses.append(training.sums[0].item())
    first, last = losses[9] / 10, (losses[-1] - losses[-11]) / 10
    assert last < 0.9 * first
    # A network that knows nothing is at T ln T.
    assert first < 1.3 * 3 * math.log(3)
    x = torch.rand(7, 3)
    logits = build(config).eval()(x)
    assert logits.shape == (7, 3, 3)


@pytest.mark.parametrize("system", ["signum-dense", "signum-rnn"])
@pytest.mark.parametrize("approximator", ["batch", "independent"])
def test_the_approximator_learns_too_and_is_gone_when_stripped(tiny: Tiny, system: System, approximator: str) -> None:
    # With the published margin a fresh small network puts out nothing but zeros.
    config = tiny(system, approximator=approximator, margin=0.01)
    training, _ = begin(config, 0, CPU)
    before = {name: parameter.clone() for name, parameter in training.model.named_parameters()}
    for _ in range(2):
        training.step(training.loss, config.clip)
    assert all(not torch.equal(before[name], parameter) for name, parameter in training.model.named_parameters())
    assert training.averages()["penalty"] > 0
    assert any("approximator" in name for name in before)
    stripped = hg.strip(training.model)
    assert not any("approximator" in name for name, _ in stripped.named_parameters())
    x = torch.rand(5, 3)
    assert torch.equal(stripped.eval()(x), training.model.eval()(x))


def test_the_rnn_hears_the_order_and_ponders(tiny: Tiny) -> None:
    x = torch.rand(4, 5)
    outputs = []
    for ponder in (0, 3):
        torch.manual_seed(0)
        model = build(tiny("signum-rnn", length=5, ponder=ponder, margin=0.0)).eval()
        outputs.append(model(x))
        # Pondering is running the same LSTM on zeros: a longer input says the same.
        lstm = torch.nn.LSTM(1, 16, batch_first=True)
        lstm.load_state_dict(dict(model.lstm.items()))
        states, _ = lstm(torch.cat([x, torch.zeros(4, ponder)], 1).unsqueeze(-1))
        assert torch.equal(model.head(states[:, -1]).view(4, 5, 5), outputs[-1])
    assert not torch.equal(*outputs)


def test_a_step_in_bfloat16_rounds_neither_the_numbers_nor_the_evaluation(tiny: Tiny) -> None:
    torch.manual_seed(0)
    config = tiny("signum-rnn", length=4, margin=0.0, precision="bfloat16")
    training, _ = begin(config, 0, CPU)
    model, plain = training.model, build(replace(config, precision="float32"))
    plain.load_state_dict(model.state_dict())
    x = torch.rand(3, 4).repeat(2, 1)
    x[3:, 0] += 1e-4  # nothing is left of it in bfloat16
    assert torch.equal(model(x), plain(x))
    target = order(x)
    expected = sorting_loss(plain(x), target)
    assert 0 < (training.loss(x, target) - expected).abs() < 0.1, "about the same, not the same"
    with torch.autocast("cpu", torch.bfloat16):
        state = model._step_by_step(x)
    assert (state[:3] - state[3:]).abs().max() > 1e-6
    torch.testing.assert_close(model._step_by_step(x), model._at_once(x), rtol=1e-5, atol=1e-6)


def test_the_approximator_is_as_wide_as_asked(tiny: Tiny) -> None:
    shapes = {}
    for hidden in ((), (7, 5, 3)):
        weights = list(hg.approximators.mlp(16, 16, hidden=hidden or (8, 8)).parameters())
        network = build(tiny(hidden=hidden))
        bridge = next(module for module in network if isinstance(module, hg.Bridge))
        shapes[hidden] = [p.shape for p in bridge.approximator.parameters()]
        assert shapes[hidden] == [p.shape for p in weights]
    assert shapes[()] != shapes[7, 5, 3]


def test_a_record_from_before_an_option_is_the_run_without_it() -> None:
    paths = sorted((Path(__file__).parents[2] / "results" / "sorting").glob("*.json"))
    records = [Record.load(path) for path in paths]
    assert any("hidden" not in record.config for record in records)
    names = [SORTING.run(SORTING.rebuilt(record.config), record.seed).name for record in records]
    assert names == [path.stem for path in paths]
    given = SORTING.configure("small", "5", "signum-dense", {"hidden": (4,)})
    assert SORTING.run(given, 0).config["hidden"] == [4]


def test_read_process_write_does_not_hear_the_order_of_its_inputs() -> None:
    torch.manual_seed(0)
    model = ReadProcessWrite(16, 4, glimpses=1).double()
    x = torch.rand(6, 5, dtype=torch.float64)
    swapped = x[:, [3, 1, 4, 0, 2]]
    target, swapped_target = order(x), order(swapped)
    expected = model(x, target)[:, [3, 1, 4, 0, 2]]
    torch.testing.assert_close(model(swapped, swapped_target), expected)
    changed = PointerNetwork(16).double()
    assert not torch.allclose(changed(swapped, swapped_target), changed(x, target)[:, [3, 1, 4, 0, 2]])


def test_attention_is_the_papers_formula() -> None:
    attention = Attention(4).double()
    memory, query = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    scores = attention(memory, query)
    w1, w2, v = (layer.weight for layer in (attention.of_memory, attention.of_query, attention.v))
    for b, i, j in itertools.product(range(2), range(5), range(3)):
        expected = (v @ torch.tanh(w1 @ memory[b, j] + w2 @ query[b, i])).item()
        assert scores[b, i, j].item() == pytest.approx(expected)


@pytest.mark.parametrize("system", ["pointer", "read-process-write"])
def test_greedy_decoding_with_a_mask_gives_a_permutation(tiny: Tiny, system: System) -> None:
    model = build(tiny(system, length=6, mask_chosen=True)).eval()
    chosen = model(torch.rand(50, 6)).argmax(1)
    assert all(sorted(row) == [0, 1, 2, 3, 4, 5] for row in chosen.tolist())


@pytest.mark.parametrize("system", ["pointer", "read-process-write"])
@pytest.mark.parametrize("glimpses", [0, 2])
def test_greedy_decoding_is_teacher_forcing_on_its_own_choices(tiny: Tiny, system: System, glimpses: int) -> None:
    # With a mask an untrained network points at all numbers; without one it repeats itself, which would hide a slip.
    model = build(tiny(system, length=4, glimpses=glimpses, mask_chosen=True)).double().eval()
    x = torch.rand(20, 4, dtype=torch.float64)
    greedy = model(x)
    forced = model(x, greedy.argmax(1))
    torch.testing.assert_close(forced.masked_fill(greedy.isinf(), -torch.inf), greedy)
    assert greedy.isinf().sum() == 20 * (0 + 1 + 2 + 3)


def test_the_process_block_is_the_papers_recurrence() -> None:
    model = ReadProcessWrite(4, 2).double()
    memory = torch.randn(3, 5, 4, dtype=torch.float64)
    ours = model._ponder(memory)
    for b in range(3):
        q = c = r = torch.zeros(1, 4, dtype=torch.float64)
        for _ in range(2):
            q, c = model.process(r, (q, c))
            e = torch.stack([memory[b, i] @ q[0] for i in range(5)])
            a = e.exp() / e.exp().sum()
            r = sum(a[i] * memory[b, i] for i in range(5))[None]
        torch.testing.assert_close(ours[b], torch.cat([q, r], 1)[0])


def test_only_pointing_systems_are_shown_the_target(tiny: Tiny) -> None:
    assert [system for system in ALL if is_teacher_forced(tiny(system))] == ["pointer", "read-process-write"]


# --------------------------------------------------------------------------------------------------------- measure


def test_the_curve_is_measured_on_few_rows_and_the_end_on_all(tiny: Tiny) -> None:
    config = tiny("tanh-dense", length=2, test_rows=200, curve_rows=40)
    training, _ = begin(config, 0, CPU)
    inputs, target = held_out(config, CPU)
    with torch.no_grad():
        right = (training.model(inputs).argmax(1) == target).all(1).float()
        assert training.evaluate(False)["accuracy"] == pytest.approx(right[:40].mean().item())
        assert training.evaluate(True)["accuracy"] == pytest.approx(right.mean().item())
    assert right[:40].mean() != right.mean()


def test_the_plan_follows_the_configuration(tiny: Tiny) -> None:
    # 1000 samples in batches of 32 are 31.25 steps, so 32; a quarter of that between evaluations.
    config = tiny(samples=1000, evaluations=4, clip=0.5, lr=0.003, schedule="constant")
    training, plan = begin(config, 0, CPU)
    assert (plan.steps, plan.evaluate_every, plan.clip) == (32, 8, 0.5)
    assert training.optimizers[0].param_groups[0]["lr"] == 0.003
    assert training.schedulers == []


def test_every_weight_has_one_optimizer_and_the_approximator_its_own_rate(tiny: Tiny) -> None:
    training, _ = begin(tiny(optimizer="muon", lr=0.02, approximator_lr=0.003, schedule="constant"), 0, CPU)
    rates = {
        parameter: (type(optimizer).__name__, group["lr"])
        for optimizer in training.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert sum(len(group["params"]) for o in training.optimizers for group in o.param_groups) == len(rates)
    for name, parameter in training.model.named_parameters():
        expected = ("Adam", 0.003) if "approximator" in name else ("Muon" if parameter.ndim == 2 else "Adam", 0.02)
        assert rates.pop(parameter) == expected, name
    assert rates == {}


def test_the_published_setting_has_one_adam() -> None:
    config = configure("published", "signum-dense", 3, {"fixed_rows": 0, "test_rows": 2000, "samples": 1024})
    training, _ = begin(config, 0, CPU)
    assert [type(optimizer) for optimizer in training.optimizers] == [torch.optim.Adam]
    assert {group["lr"] for group in training.optimizers[0].param_groups} == {1e-4}


def test_one_cycle_climbs_to_the_peak_and_down_to_nothing(tiny: Tiny) -> None:
    training, plan = begin(tiny(samples=3200, lr=0.004), 0, CPU)
    rates = []
    for _ in range(plan.steps):
        rates.append(training.optimizers[0].param_groups[0]["lr"])
        training.step(training.loss, 0.0)
    assert max(rates) == pytest.approx(0.004, rel=0.01)
    assert rates.index(max(rates)) == pytest.approx(10, abs=1)
    assert rates[-1] < 1e-5 < rates[0] == pytest.approx(0.004 / 25)


def one_hot(rows: list[list[int]]) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).float().transpose(1, 2)


def test_all_or_none_gives_no_partial_credit() -> None:
    logits = one_hot([[0, 1, 2], [0, 1, 2], [2, 1, 0], [1, 1, 1]])
    target = torch.tensor([[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 0, 2]])
    assert all_or_none(logits, target).tolist() == [True, False, True, False]


def test_all_or_none_reads_classes_along_axis_one() -> None:
    # Columns are places: number 2 stands first, then 0, then 1. Read along the other axis it would say 1, 2, 0.
    logits = torch.tensor([[[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]]])
    assert all_or_none(logits, torch.tensor([[2, 0, 1]])).tolist() == [True]
    assert all_or_none(logits, torch.tensor([[1, 2, 0]])).tolist() == [False]


def test_the_loss_sums_places_and_means_rows() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.2], [0.5, 0.8]], [[0.9, 0.4], [0.1, 0.6]]]))
    target = torch.tensor([[0, 1], [1, 0]])
    by_hand = (-math.log(0.5) - math.log(0.8) - math.log(0.1) - math.log(0.4)) / 2
    assert sorting_loss(logits, target).item() == pytest.approx(by_hand)


# --------------------------------------------------------------------------------------------------------- presets


def test_the_published_setting_is_the_published_programs() -> None:
    config = configure("published", "signum-dense", 10, {})
    assert (config.lr, config.batch, config.width, config.margin, config.gamma) == (1e-4, 1024, 256, 0.5, 10.0)
    assert (config.fixed_rows, config.drop_last, config.center_inputs) == (2_000_000, True, False)
    assert (config.schedule, config.approximator, config.surrogate) == ("constant", "batch", "bridge")
    assert configure("published", "signum-rnn", 10, {}).clip == 5.0


def test_the_fast_setting_holds_no_rows() -> None:
    assert PRESETS["fast"]["fixed_rows"] == 0


def test_every_published_number_is_of_a_known_system() -> None:
    assert {system for _, system in SORTING.published} == set(SYSTEMS)
    assert {length for length, _ in SORTING.published} == {"5", "10", "15"}
    assert len(SORTING.published) == 18


@pytest.mark.parametrize(
    ("system", "given", "message"),
    [
        ("signum-dense", {"length": 1}, "length must be at least 2, got 1"),
        ("signum-dense", {"samples": -5}, "samples must be at least 1, got -5"),
        ("signum-dense", {"lr": 0.0}, "lr must be greater than 0, got 0.0"),
        ("signum-dense", {"width": 7}, "width must be even"),
        ("signum-dense", {"surrogate": "magic"}, "surrogate must be one of bridge, straight-through, got 'magic'"),
        ("signum-dense", {"fixed_rows": 3}, r"fixed_rows must be 0 or at least batch \(512\), got 3"),
        ("signum-dense", {"near_ties": 1.5}, "near_ties must be at most 1, got 1.5"),
        ("signum-dense", {"ponder": 2}, "ponder must be left out: it is for signum-rnn, not for signum-dense"),
        ("elu-dense", {"gamma": 3.0}, "gamma must be left out: it is for signum-dense, signum-rnn, not for elu-dense"),
        ("signum-dense", {"hidden": (4, 0)}, r"hidden must be widths of at least 1, got \(4, 0\)"),
        ("signum-rnn", {"hidden": (4,), "surrogate": "straight-through"}, "hidden must be left out"),
        ("pointer", {"precision": "bfloat16"}, "precision must be left out: it is for signum-rnn, not for pointer"),
        ("bogosort", {}, "system must be one of signum-dense, .* got 'bogosort'"),
    ],
)
def test_a_wrong_value_is_named_with_the_rule(system: Any, given: dict[str, Any], message: str) -> None:
    length = given.pop("length", 5)
    with pytest.raises(OptionError, match=message):
        configure("fast", system, length, given)


def test_a_field_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(TypeError, match="batches"):
        configure("fast", "signum-dense", 5, {"batches": 3})
