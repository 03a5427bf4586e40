"""Rows with labels made of known features, a selector, a predictor, and how well the selector keeps them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows
from hardgrad_lab.experiments.bridges.trial import Trial

FEATURES = 10  # of a row
LABELS: dict[str, Callable[[Tensor], Tensor]] = {  # the logit of a label
    "xor": lambda x: x[:, 0] * x[:, 1],
    "orange-skin": lambda x: x[:, :4].square().sum(1) - 4,
    "additive": lambda x: -100 * (0.2 * x[:, 0]).sin() + x[:, 1].abs() + x[:, 2] + (-x[:, 3]).exp() - 2.4,
}


class Explainer(nn.Module):
    """The selector, features (B, 10) to their logits; the predictor, kept features to a logit; a layer between."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        mlp, width = partial(hg.approximators.mlp, FEATURES, activation=nn.SELU), trial.width
        self.select = mlp(FEATURES, hidden=(width, width))
        self.predictor = hg.approximators.mlp(2 * FEATURES, 1, hidden=(2 * width, 2 * width), activation=nn.SELU)
        self.layer: nn.Module | None = None
        hard, twin = partial(hg.hard.top_k_mask, k=trial.size), partial(hg.soft.top_k_mask, k=trial.size)
        if trial.contestant == "exact-relaxed":
            self.layer = hg.straight_through(hard, soft=partial(twin, temperature=trial.softness))
        if trial.contestant == "bridge":
            self.layer = hg.Bridge(hard, mlp(FEATURES, hidden=(64, 64)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.select(x)
        return logits

    def predict(self, mask: Tensor, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Return the logit of the label of x, of which is kept what the mask says; with weights that do not learn."""
        seen = torch.cat([mask * x, mask], -1)
        weights = {name: each.detach() if frozen else each for name, each in self.predictor.named_parameters()}
        said: Tensor = torch.func.functional_call(self.predictor, weights, seen).squeeze(-1)
        return said


def loss(trial: Trial, model: Explainer, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels y (B,), probabilities, with what is said of the kept features of x."""
    logits = model(x)
    q, k = hg.KSubset(logits, trial.size), trial.size

    def f(mask: Tensor, frozen: bool = True) -> Tensor:
        said = model.predict(mask, x, frozen=frozen)
        return F.binary_cross_entropy_with_logits(said, y.expand_as(said), reduction="none")

    def l2x() -> Tensor:
        noise = -torch.empty(k, *logits.shape, device=x.device).exponential_().log()
        return f(((logits + noise) / trial.softness).softmax(-1).amax(0))

    ways: dict[str, Callable[[], Tensor]] = {
        "score": lambda: hg.score_function(q, f, samples=trial.samples, baseline="leave_one_out"),
        "marginals": lambda: hg.montecarlo.straight_through_estimator(q, f),
        "gumbel": lambda: hg.gumbel(q, f, temperature=trial.softness),
        "l2x": l2x,
        "relaxed": lambda: f(hg.soft.top_k_mask(logits, k, trial.softness)),
    }
    chosen = f(model.layer(logits)) if model.layer is not None else ways[trial.contestant]()
    return (chosen + f((torch.rand_like(x) < torch.rand_like(y)[:, None]).to(x.dtype), frozen=False)).mean()


def rows(task: str, random: torch.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (count, 10), the probability of each row's label, and which features it was made of, a mask."""
    x, made_of = torch.randn(count, FEATURES, generator=random), torch.zeros(count, FEATURES)
    if task != "switch":
        made_of[:, : 2 if task == "xor" else 4] = 1
        return x, LABELS[task](x).sigmoid(), made_of
    first = torch.rand(count, generator=random) < 0.5  # the last feature tells which four matter
    x[:, -1] += torch.where(first, 3.0, -3.0)
    made_of[:, -1], made_of[first, :4], made_of[~first, 4:8] = 1, 1, 1
    return x, torch.where(first, LABELS["orange-skin"](x), LABELS["additive"](x[:, 4:])).sigmoid(), made_of


def problem(trial: Trial, root: Root) -> Problem:
    """Return the rows, both networks and their measures."""
    del root  # all rows are drawn
    model, k = Explainer(trial), trial.size
    x, y, made_of = rows(trial.task, torch.Generator().manual_seed(0), trial.test_rows)

    def measure(logits: Tensor, count: int) -> dict[str, float]:
        kept, true, both = hg.hard.top_k_mask(logits, k), made_of[:count].bool(), torch.stack([y, 1 - y])[:, :count]
        ranks = 1 + hg.hard.rank(-logits)[true].view(count, k)
        device = next(model.parameters()).device
        said = model.predict(kept.to(device), x[:count].to(device)).cpu()
        return {
            "precision": kept[true].mean().item(),
            "median_rank": ranks.quantile(0.5, 1).mean().item(),
            "divergence": F.kl_div(F.logsigmoid(torch.stack([said, -said])), both, reduction="sum").item() / count,
        }

    def make(random: torch.Generator, count: int) -> Rows:
        return rows(trial.task, random, count)[:2]

    words = f"drawn rows, tested on {trial.test_rows:,} others"
    return Problem(model=model, make=make, loss=partial(loss, trial, model), test=x, measure=measure, rows=words)
