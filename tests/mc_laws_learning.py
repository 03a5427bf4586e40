"""Monte Carlo laws about who learns from what: f, what an estimator owns, and layers inside f."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn

import hardgrad as hg
from mc_cases import Estimator, modules
from mc_trials import BATCH, Objective, assert_same, trials, weighed
from place import DEVICE


def evaluation(estimator: Estimator) -> None:
    """Under no_grad and inference_mode: the value that training would see, one call of f, and nothing else runs."""
    for trial in trials(estimator):
        trained = trial.run()["value"]
        for context in (torch.no_grad(), torch.inference_mode()):
            trial = trial.again()
            ran = _calls(trial.owned)
            with context:
                torch.manual_seed(0)
                value = trial.value(trial.parameter)
            assert not value.requires_grad
            torch.testing.assert_close(value, trained)
            assert len(trial.f.calls) == 1
            assert not ran


def _calls(owned: nn.ModuleDict) -> list[nn.Module]:
    """A list that grows by every call of a module with weights."""
    ran: list[nn.Module] = []
    for module in owned.values():
        if list(module.parameters()):
            module.register_forward_hook(lambda m, *_: ran.append(m))
    return ran


def standing_still(estimator: Estimator) -> None:
    """What it owns, in eval(): no learning, no state that moves, the same value."""
    for trial in trials(estimator):
        trained = trial.run()
        trial = trial.again()
        trial.owned.eval()
        before = copy.deepcopy(trial.owned.state_dict())
        found = trial.run()
        torch.testing.assert_close(found["value"], trained["value"])
        assert found.keys() <= {"value", "q", "f"} or not any(
            found[n].any() for n in found.keys() - {"value", "q", "f"}
        )
        for name, state in trial.owned.state_dict().items():
            assert torch.equal(state, before[name]), name


def copies(estimator: Estimator) -> None:
    """deepcopy after a step, a saved and loaded state_dict, and a pickle go on as the original does."""
    for trial in trials(estimator):
        trial.run(seed=1)
        buffer = io.BytesIO()
        torch.save(trial.owned.state_dict(), buffer)
        buffer.seek(0)
        loaded = trial.again()
        loaded.owned.load_state_dict(torch.load(buffer))
        copied, pickled = copy.deepcopy(trial), trial.again()
        pickled.call = pickle.loads(pickle.dumps(trial.call))
        pickled.owned = nn.ModuleDict(modules(pickled.call))
        found = trial.run(seed=2)
        for other in (loaded, copied, pickled):
            assert_same(other.run(seed=2), found)


def parameters_of_f(estimator: Estimator) -> None:
    """f learns from the samples its value came from, and from no other call; whether or not q learns."""
    for trial in trials(estimator):
        found = trial.run()
        if estimator.noisy and estimator.draws != 0:
            shown = trial.f.calls[0][: estimator.draws]
            lead = shown.ndim - len(BATCH) - trial.variable.event_dims
            value = trial.f.of(shown).mean(0) if lead else trial.f.of(shown)
            (expected,) = torch.autograd.grad(weighed(value), trial.f.theta)
            torch.testing.assert_close(found["f"], expected)
            torch.testing.assert_close(found["value"], value.detach())
        alone = trial.run(lambda parameter, trial=trial: trial.value(parameter.detach()))
        torch.testing.assert_close(alone["f"], found["f"])
        torch.testing.assert_close(alone["value"], found["value"])


def scope(estimator: Estimator) -> None:
    """The penalties scope and self-training give equal gradients, in what it owns and everywhere else."""
    for trial in trials(estimator):
        alone = trial.run()
        trial = trial.again()
        with hg.penalties() as bag:
            owned = trial.run(extra=bag.total)
        assert_same(owned, alone)
        learns = [m for m in trial.owned.values() if any(p.requires_grad for p in m.parameters())]
        assert len(bag) == len(learns)
        assert all(owned[n].any() for n, p in trial.owned.named_parameters() if p.requires_grad)


def layers_in_f(estimator: Estimator) -> None:
    """A bridge inside f has the penalty of the evaluation that gives the value, once, in a scope and without one."""
    for trial in trials(estimator):
        torch.manual_seed(0)
        layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(1, 1, hidden=(4,))).to(DEVICE, torch.float64)
        plain = trial.f

        def f(b: Tensor, plain: Objective = plain, layer: nn.Module = layer) -> Tensor:
            value = plain(b)
            return value + layer(value.unsqueeze(-1)).squeeze(-1)

        found = []
        for scoped in (True, False):
            trial.f = _With(plain, f)
            layer.zero_grad()
            with hg.penalties() as bag:
                if scoped:
                    trial.run(extra=bag.total)
            if not scoped:
                trial.run()
            assert [m for m, _ in bag._items].count(layer) == scoped
            found.append({name: p.grad.clone() for name, p in layer.named_parameters()})
        assert_same(found[0], found[1])


class _With(nn.Module):
    def __init__(self, plain: Objective, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.theta, self.calls = f, plain.theta, plain.calls

    def forward(self, b: Tensor) -> Tensor:
        return self.f(b)
