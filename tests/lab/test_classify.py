"""Classification: the network, its layers against plain loops, the distance against scipy, and the training."""

from __future__ import annotations

from itertools import chain, permutations
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from rich.console import Console
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data.prepare import CIFAR10_MEAN, CIFAR10_STD, Standardized
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.classify import CLASSIFY
from hardgrad_lab.experiments.bridges.classify import fast as classify_fast
from hardgrad_lab.experiments.bridges.classify import layers as classify_layers
from hardgrad_lab.experiments.bridges.classify.config import Classification
from hardgrad_lab.experiments.bridges.classify.emd import carried, rows_and_columns
from hardgrad_lab.experiments.bridges.classify.networks import Classifier, resnet_18
from hardgrad_lab.experiments.bridges.classify.optimizers import rescale
from hardgrad_lab.experiments.bridges.classify.run import begin, build, reproduce, whole
from hardgrad_lab.experiments.bridges.conditioning import CONDITIONING
from hardgrad_lab.experiments.bridges.placement import PLACEMENT
from hardgrad_lab.experiments.bridges.versus_ste import VERSUS_STE
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import setting
from hardgrad_lab.runs.step import InBf16

CPU = torch.device("cpu")
ALL = [(each, name) for each in (CLASSIFY, PLACEMENT, CONDITIONING, VERSUS_STE) for name in each.contestants]


def configured(experiment: Experiment, contestant: str, **given: Any) -> Classification:
    config: Classification = experiment.configure("smoke", "cifar10", contestant, given)
    return config


def begun(config: Classification, samples: Path) -> Training:
    torch.manual_seed(0)
    return begin(config, 0, Root(folder=samples), CPU)[0]


def first_weights(training: Training) -> nn.Parameter:
    """The first that learn, before any layer."""
    return next(iter(training.model.parameters()))


def filters_of(training: Training) -> list[classify_fast.Filters]:
    return [each for each in training.model.modules() if isinstance(each, classify_fast.Filters)]


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# -------------------------------------------------------------------------------------------------------- the network


def test_at_the_papers_width_it_is_the_customary_resnet_18() -> None:
    # The count of the network for CIFAR that many programs share, convolutions without bias, one linear layer.
    config = CLASSIFY.configure("paper", "cifar10", "identity", {"head": "pooled"})
    assert sum(parameter.numel() for parameter in build(config).parameters()) == 11_173_962


def test_the_flat_head_sees_every_value() -> None:
    # 512 channels of 16 places each, or of 32 when rows and columns are sorted, to ten classes with a bias.
    for contestant, values in {"identity": 16, "signum": 16, "sort": 32, "top-k": 16, "k-means": 16}.items():
        model = build(CLASSIFY.configure("paper", "cifar10", contestant, {}))
        assert model.linear.weight.shape == (10, 512 * values)


@pytest.mark.parametrize(("stage", "channels", "side"), [(1, 4, 32), (2, 8, 16), (3, 16, 8), (4, 32, 4)])
def test_the_layer_stands_where_the_configuration_says(stage: int, channels: int, side: int) -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape)
            return x

    config = configured(PLACEMENT, f"stage-{stage}", network="resnet-18", optimizer="adam")
    assert (config.stage, config.channels, config.side) == (stage, channels, side)
    model = resnet_18(config.width, Spy(), stage=config.stage, features=16)
    assert model(maps(2, 3, 32, 32)).shape == (2, 10)
    assert seen == [(2, channels, side, side)]


def test_a_pooled_head_does_not_see_a_sort() -> None:
    # What the settings file says of it: the mean of a sorted map is that of the unsorted.
    torch.manual_seed(0)
    model = resnet_18(2, nn.Identity(), head="pooled", features=16)
    entry = maps(3, 16, 4, 4)
    torch.testing.assert_close(model.judge(entry), model.linear(entry.mean((2, 3))))
    torch.testing.assert_close(model.judge(hg.hard.sort_rows_cols(entry)), model.judge(entry))
    flat = resnet_18(2, nn.Identity(), features=16)
    assert not torch.allclose(flat.judge(classify_layers.sorted_flat(entry)), flat.judge(entry))


# ----------------------------------------------------------------------------------------------------- the fast setting


def test_the_first_convolution_whitens_patches_in_both_directions() -> None:
    mixed = torch.einsum(
        "ij,bjhw->bihw", torch.tensor([[1.0, 0.5, 0.2], [0.0, 1.0, 0.7], [0.0, 0.0, 0.3]]), maps(50, 3, 16, 16)
    )
    layer = classify_fast.Whitening()
    layer.fit(mixed)
    values = layer(mixed).transpose(0, 1).flatten(1)
    second = values @ values.T / values.shape[1]
    torch.testing.assert_close(second[:12, :12], torch.eye(12), atol=0.01, rtol=0)
    torch.testing.assert_close(values[12:], -values[:12])


def test_filters_are_a_convolution_that_starts_with_the_identity() -> None:
    torch.manual_seed(0)
    layer, x = classify_fast.Filters(3, 5), maps(2, 3, 6, 6)
    torch.testing.assert_close(layer(x)[:, :3], x)
    weights = torch.stack([row.view(3, 3, 3).permute(2, 0, 1) for row in layer.rows])  # a row: places, then channels
    padded, place = nn.functional.pad(x, (1, 1, 1, 1)), (1, 4, 2, 3)
    patch = padded[place[0], :, place[2] : place[2] + 3, place[3] : place[3] + 3]
    torch.testing.assert_close(layer(x)[place], (patch * weights[place[1]]).sum())


def test_a_hard_layer_takes_the_place_of_the_last_activation() -> None:
    last: list[Any] = [build(configured(CLASSIFY, name)).before[-1] for name in ("identity", "signum")]
    assert [type(stage[-1]) for stage in last] == [nn.GELU, nn.BatchNorm2d]
    early: Any = build(configured(PLACEMENT, "stage-2"))
    assert isinstance(early.before[-1][-1], nn.BatchNorm2d)
    assert isinstance(early.after[-1][-1], nn.GELU)


def test_a_step_of_muon_leaves_filters_at_their_size(samples: Path) -> None:
    training = begun(configured(CLASSIFY, "identity"), samples)
    filters = [each.rows for each in filters_of(training)]
    training.step(training.loss, 0.0)
    for each in filters:
        assert each.norm().item() == pytest.approx(len(each) ** 0.5, rel=1e-5)
    turned = each.detach() * 3
    rescale([turned])
    torch.testing.assert_close(turned, each)


def test_precision_is_that_of_the_products_in_training_alone(samples: Path) -> None:
    for precision, in_training in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        seen: list[torch.dtype] = []
        hard: list[torch.dtype] = []
        training = begun(configured(CLASSIFY, "signum", precision=precision), samples)
        layer, model = filters_of(training)[0], cast(Classifier, training.model)
        layer.register_forward_hook(lambda *given, seen=seen: seen.append(given[2].dtype))
        model.layer.register_forward_hook(lambda *given, hard=hard: hard.append(given[2].dtype))
        training.step(training.loss, 0.0)
        training.add_point(last=False)
        assert {each.dtype for each in training.model.parameters()} == {torch.float32}
        assert seen[:2] == [in_training, torch.float32]
        assert set(hard) == {torch.float32}
        seen.clear()
        training.step(InBf16(training.loss, torch.device("cpu")), 0.0)
        assert seen == [torch.bfloat16], "float32 leaves --bf16 its way"


def test_a_picture_is_judged_with_its_mirror_image_in_a_measure_of_its_own(samples: Path) -> None:
    training = begun(configured(CLASSIFY, "identity", test_rows=20), samples)
    model: Any = training.model.eval()
    images = whole(Root(folder=samples), "test")
    with torch.no_grad():
        x = Standardized(CIFAR10_MEAN, CIFAR10_STD)(images.x[:20], torch.Generator())
        alone, together = model(x), model(x) + model(x.flip(-1))
        right = [(each.argmax(1) == images.y[:20]).sum().item() / 20 for each in (alone, together)]
        measured = training.evaluate(True)
    assert [measured["accuracy"], measured["mirrored_accuracy"]] == right


def test_a_record_from_before_there_was_a_choice_says_which_network_it_is_of() -> None:
    config = CLASSIFY.configure(
        "small", "cifar10", "identity", {"network": "resnet-18", "precision": "float32", "optimizer": "adam"}
    )
    old = CLASSIFY.run(config, 0).config
    assert not {"network", "precision"} & set(old)  # as it was written before
    group = Group(config=CLASSIFY.read(old), records=[])
    assert setting(CLASSIFY, group) == "small, network resnet-18, precision float32, optimizer adam"


# --------------------------------------------------------------------------------------------------------- the layers


def test_each_hard_layer_does_what_a_plain_loop_does() -> None:
    x = maps(2, 3, 4, 4)
    tops, flat = torch.empty(2, 3, 5), torch.empty(2, 48)
    for picture in range(2):
        flat[picture] = torch.tensor(sorted(x[picture].reshape(-1).tolist()))
        for channel in range(3):
            rows = [sorted(row) for row in x[picture, channel].tolist()]
            columns = [sorted(column) for column in x[picture, channel].T.tolist()]
            tops[picture, channel] = torch.tensor(sorted(chain(*rows, *columns), reverse=True)[:5])
            sorted_map = torch.tensor(rows + [list(row) for row in zip(*columns, strict=True)])
            assert torch.equal(hg.hard.sort_rows_cols(x)[picture, channel], sorted_map)
    assert torch.equal(classify_layers.top_of_sorted(x, 5), tops)
    assert torch.equal(classify_layers.sorted_flat(x).flatten(1), flat)


def test_k_means_gives_each_place_the_mean_of_the_places_it_is_with() -> None:
    # Two far groups of places: what Lloyd's algorithm must find.
    x = maps(2, 3, 4, 4) * 0.1
    x[:, :, :2] += 10
    found = classify_layers.clustered(x, 2)
    for half in (slice(0, 2), slice(2, 4)):
        expected = x[:, :, half].mean((2, 3), keepdim=True).expand(-1, -1, 2, 4)
        torch.testing.assert_close(found[:, :, half], expected)


@pytest.mark.parametrize(("experiment", "contestant"), ALL, ids=lambda value: getattr(value, "name", value))
def test_each_approximator_fits_its_layer(experiment: Experiment, contestant: str) -> None:
    config = configured(experiment, contestant)
    hard = classify_layers.hard_function(config)
    if hard is None:
        return
    seen = build(config).eval().before(maps(2, 3, 32, 32))
    assert seen.shape == (2, config.channels, config.side, config.side)
    assert classify_layers.approximator(config)(seen).shape == hard(seen).shape


def test_the_approximator_of_the_sort_learns_to_sort() -> None:
    torch.manual_seed(0)
    config = configured(CLASSIFY, "sort")
    network, hard = classify_layers.approximator(config), hg.hard.sort_rows_cols
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(300):
        x = torch.randn(16, 4, 4, 4)
        optimizer.zero_grad()
        (network(x) - hard(x)).square().sum().backward()
        optimizer.step()
    x = maps(50, 4, 4, 4)
    assert (network(x) - hard(x)).norm() / hard(x).norm() < 0.35  # the best constant has 0.67


# ------------------------------------------------------------------------------------------------------- the distance


def test_the_distance_is_that_of_scipy_between_heaps_on_a_line() -> None:
    for row in maps(20, 6):
        raised = row - row.min() + 1  # heaps must be positive there; to raise all alike changes nothing
        weights, wanted = raised.tolist(), raised.sort().values.tolist()
        places = list(range(6))
        expected = wasserstein_distance(places, places, weights, wanted) * sum(weights)
        assert carried(row).item() == pytest.approx(expected, rel=1e-4)


def test_disorder_is_nought_when_sorted_one_when_reversed_and_half_over_all_orders() -> None:
    values = [0.3, -1.0, 2.0, 0.7]
    orders = torch.tensor(list(permutations(values)))
    worst = carried(torch.tensor(sorted(values, reverse=True)))
    assert carried(orders).min() == 0
    torch.testing.assert_close(carried(orders).max(), worst)
    torch.testing.assert_close(carried(orders).mean(), worst / 2)


def test_rows_and_columns_are_counted_one_by_one() -> None:
    x = maps(2, 3, 4, 4)
    lines = [line for one in x.flatten(0, 1) for line in (*one, *one.T)]
    found, worst, count = rows_and_columns(x)
    assert count == len(lines) == 48
    assert found == pytest.approx(sum(carried(line).item() for line in lines), rel=1e-5)
    assert worst == pytest.approx(sum(carried(line.sort(descending=True).values).item() for line in lines), rel=1e-5)


# ------------------------------------------------------------------------------------------------------- the training


@pytest.mark.parametrize(("experiment", "contestant"), ALL, ids=lambda value: getattr(value, "name", value))
def test_training_moves_the_weights_before_the_layer(experiment: Experiment, contestant: str, samples: Path) -> None:
    training = begun(configured(experiment, contestant), samples)
    before = cast(Classifier, training.model).before
    drawn = [each.detach().clone() for each in before.parameters()]
    training.step(training.loss, 0.0)
    moved = [not torch.equal(now, then) for now, then in zip(before.parameters(), drawn, strict=True)]
    assert any(moved) == all(moved) == (contestant != "none")


def test_the_penalty_reaches_the_layers_before_only_when_it_should(samples: Path) -> None:
    reached = {}
    for contestant in CONDITIONING.contestants:
        training = begun(configured(CONDITIONING, contestant), samples)
        with hg.penalties() as bag:
            training.loss(*training.stream.batch())
        bag.total().backward()
        gradient = first_weights(training).grad
        reached[contestant] = gradient is not None and bool(gradient.abs().sum() > 0)
    assert reached == {"program": False, "text": True}


def test_every_parameter_is_trained_by_one_optimizer(samples: Path) -> None:
    for optimizer in ("adam", "sgd", "muon"):
        training = begun(configured(CLASSIFY, "sort", optimizer=optimizer), samples)
        held = [id(p) for each in training.optimizers for group in each.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in training.model.parameters())


@pytest.mark.parametrize(("rows", "batch", "steps", "points"), [(70, 10, 7, 3), (48, 16, 3, 3), (20, 10, 2, 2)])
def test_the_curve_has_the_points_that_were_asked_for(
    samples: Path, rows: int, batch: int, steps: int, points: int
) -> None:
    config = configured(CLASSIFY, "identity", rows=rows, batch=batch, evaluations=3)
    plan = begin(config, 0, Root(folder=samples), CPU)[1]
    assert plan.steps == steps
    assert len([step for step in range(1, steps + 1) if step % plan.evaluate_every == 0 or step == steps]) == points


def test_the_last_measure_is_of_all_rows_and_tells_what_was_there_before_training(samples: Path) -> None:
    training = begun(configured(CONDITIONING, "program", test_rows=20, curve_rows=10), samples)
    for _ in range(2):
        training.step(training.loss, 0.0)
    training.add_point(last=False)
    training.step(training.loss, 0.0)
    training.add_point(last=True)
    few, all_rows = training.curve
    model: Any = training.model.eval()
    images = whole(Root(folder=samples), "test")
    with torch.no_grad():
        x = Standardized(CIFAR10_MEAN, CIFAR10_STD)(images.x[:20], torch.Generator())
        found, _, count = rows_and_columns(model.before(x))
        right = (model(x).argmax(1) == images.y[:20]).sum().item()
    assert (all_rows["emd"], all_rows["accuracy"]) == pytest.approx((found / count, right / 20))
    assert few["accuracy"] * 10 == pytest.approx(round(few["accuracy"] * 10))
    assert "emd_untrained" not in few
    assert all_rows["emd_untrained"] > 0
    assert all_rows["disorder_untrained"] == pytest.approx(0.5, abs=0.1)  # a fresh network sorts nothing


def test_a_resumed_run_ends_in_the_same_record(samples: Path, tmp_path: Path) -> None:
    config = configured(CLASSIFY, "sort", augment=True)
    run, root = CLASSIFY.run(config, 0), Root(folder=samples)
    straight, broken = How(results=tmp_path / "straight"), How(results=tmp_path / "broken", resume=True)
    expected = reproduce(run, config, 0, root, straight, Console(quiet=True)).record
    training = begun(config, samples)
    training.model.train()
    training.step(training.loss, 0.0)
    training.add_point(last=False)
    state = {**training.state_dict(), "started": "before", "machine": {}}
    checkpoint.save(run.checkpoint_path(broken.results), run, state)
    found = reproduce(run, config, 0, root, broken, Console(quiet=True)).record
    assert found.started == "before"
    assert found.metrics == expected.metrics
    for name in ("loss", "penalty", "accuracy", "relative_error"):
        assert [point[name] for point in found.curve] == [point[name] for point in expected.curve]


# -------------------------------------------------------------------------------------------------- what it must refuse


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"stage": 0}, "stage must be from 1 to 4, got 0"),
        ({"layer": "sort", "stage": 3}, "stage must be 4 for sort"),
        ({"layer": "sort", "gradient": "straight-through"}, "gradient must be another for sort"),
        ({"conditioning": True, "gradient": "exact"}, "conditioning must be off without a bridge"),
        ({"k": 33}, "k must be at most 32"),
        ({"clusters": 17}, "clusters must be at most 16"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"lr": 0.0}, "lr must be greater than 0"),
        ({"gamma": -1.0}, "gamma must be at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1"),
        ({"layer": "relu"}, "layer must be one of identity, signum"),
        ({"network": "resnet-18"}, "optimizer must be adam or sgd for resnet-18"),
        ({"weight_decay": 0.1}, "weight_decay must be 0 with muon"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(given: dict[str, Any], named: str) -> None:
    values = {**CLASSIFY.common, **CLASSIFY.budgets["smoke"], "layer": "signum", **given}
    with pytest.raises(OptionError, match=named):
        Classification(task="cifar10", contestant="signum", budget="smoke", **values)
