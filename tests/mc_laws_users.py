"""Monte Carlo laws about what users bring: functions and networks that write in place, distributions of their own."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import mc_bank
from mc_cases import Estimator, FromEvent
from mc_trials import Objective, Trial, assert_same, name_of, trials


def in_place(estimator: Estimator) -> None:
    """Changed in place: what comes back, f's sample and its own value, now and later, and a network's input."""
    for trial in trials(estimator):
        plain = trial.run()
        assert_same(_shifted(trial.again()), plain | {"value": plain["value"] + 1})
        trial = trial.again()
        writer = trial.f = Writer(trial.f)
        for network in trial.owned.values():
            if isinstance(network, FromEvent | nn.Sequential):
                network.register_forward_pre_hook(lambda _, given: _used_up(given[0]))
        before = trial.parameter.detach().clone()
        assert_same(
            trial.run(lambda parameter, trial=trial, writer=writer: _scribbled(trial, parameter, writer)), plain
        )
        assert torch.equal(trial.parameter, before)


def _shifted(trial: Trial) -> dict[str, Tensor]:
    def shifted(parameter: Tensor) -> Tensor:
        value = trial.value(parameter)
        value += 1
        return value

    return trial.run(shifted)


class Writer(nn.Module):
    """An objective that maps its sample to -1 and 1 in place, returns one buffer each time, and keeps both."""

    def __init__(self, plain: Objective) -> None:
        super().__init__()
        self.plain, self.theta, self.calls = plain, plain.theta, plain.calls
        self.kept: list[Tensor] = []
        self.buffers: dict[torch.Size, Tensor] = {}

    def forward(self, b: Tensor) -> Tensor:
        self.kept.append(b)
        value = self.plain(b.add_(1) - 1 if self.plain.outcome_numbers else (b.mul_(2).sub_(1) + 1) / 2)
        buffer = self.buffers.setdefault(value.shape, torch.empty_like(value).detach())
        self.kept.append(buffer)
        return buffer.detach().copy_(value)


def _scribbled(trial: Trial, parameter: Tensor, writer: Writer) -> Tensor:
    value = trial.value(parameter)
    with torch.no_grad():
        for kept in writer.kept:
            kept.fill_(7)
    return value


def _used_up(x: Tensor) -> Tensor:
    y = x * 1
    with torch.no_grad():
        x.fill_(7)
    return y


def subclasses(estimator: Estimator) -> None:
    """A subclass of q's class that changes nothing is that class; with its own log_prob it is asked, or refused."""
    for trial in trials(estimator):
        plain, kind = trial.run(), mc_bank.KINDS[trial.variable.kind]
        tagged = type("Tagged", (kind,), {"tag": "mine", "entropy": lambda self: 0})
        with mock.patch.dict(mc_bank.KINDS, {trial.variable.kind: tagged}):
            assert_same(trial.again().run(), plain)

        asked: list[int] = []

        def log_prob(self: Distribution, value: Tensor, kind: type = kind, asked: list[int] = asked) -> Tensor:
            asked.append(1)
            return kind.log_prob(self, value)

        own = type("Own", (kind,), {"log_prob": log_prob})
        with mock.patch.dict(mc_bank.KINDS, {trial.variable.kind: own}):
            if name_of(trial) == "score_function":
                trial.again().run()
                assert asked
                continue
            with pytest.raises(
                ValueError, match=rf"{name_of(trial)}: q must be .*, got Own, a {kind.__name__} with a log_prob of"
            ):
                trial.again().run()
