"""Optuna: search a bridge's settings by the loss that counts, the one of the hard function.

The problem: the loss that a loop minimizes holds the penalty, which is ``weight`` times the imitation's error. A study
that compares such losses finds that small weights are best, whatever they do.

What counts is the task's loss on rows that were not trained on, in ``eval()``: there the hard function runs alone, and
no setting of the approximator is in the number except by what it taught the layers before. Report the same number for
pruning. Seed each trial, so that it can be repeated.

The one rule: return the held-out task loss of ``model.eval()``, never a loss with a penalty in it.
"""

import optuna
import torch
from torch import Tensor, nn

import hardgrad as hg

STEPS = 150


def rows(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(step))
    return x, x.sort(1).values[:, 4:5]  # the second largest


def trained(width: int, weight: float, lr: float, trial: optuna.Trial | None = None) -> tuple[nn.Sequential, float]:
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sort, hg.approximators.mlp(6, 6, hidden=(width,)), weight=weight)
    model = nn.Sequential(nn.Linear(6, 6), bridge, nn.Linear(6, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    held_out = torch.inf
    for step in range(1, STEPS + 1):
        x, target = rows(step)
        model.train()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()
        if step % 50 == 0:
            with torch.no_grad():
                x, target = rows(10_000)
                held_out = nn.functional.mse_loss(model.eval()(x), target).item()
            if trial is not None:
                trial.report(held_out, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
    return model, held_out


def objective(trial: optuna.Trial) -> float:
    width = trial.suggest_categorical("width", [16, 64])
    weight = trial.suggest_float("weight", 0.1, 100, log=True)
    lr = trial.suggest_float("lr", 1e-4, 3e-2, log=True)
    return trained(width, weight, lr, trial)[1]


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=4))
    study.enqueue_trial({"width": 16, "weight": 10.0, "lr": 1e-3})  # where one would begin
    study.optimize(objective, n_trials=10)

    begun = study.trials[0].value
    assert study.best_value < 0.7 * begun, (study.best_value, begun)
    model, again = trained(**study.best_params)
    assert again == study.best_value  # a trial can be repeated to the bit

    penalties = []
    for weight in (0.1, 10.0):  # the same model: its penalty says what the weight is, not how good it is
        model[1].weight = weight
        with hg.penalties() as bag:
            model.train()(rows(0)[0])
        penalties.append(bag.total().item())
    assert abs(penalties[1] / penalties[0] - 100) < 1e-2, penalties
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"from {begun:.3f} to {study.best_value:.3f} with {study.best_params}; {pruned} trials cut short")
