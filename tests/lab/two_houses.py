"""What a step costs in two checkouts of hardgrad, in alternating processes: the least processor time, and the ratio.

    python tests/lab/two_houses.py OTHER/src src --rounds 4

By hand, on an idle machine; docs/evidence/benchmarks.md has a table of it. Either checkout may be older than the
present names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

POINTS = [i / 10 for i in range(11)]
Cases = dict[str, Callable[[], Any]]


def cases() -> Cases:
    """One step each: forward and backward, unless the name says otherwise."""
    import torch
    from torch import nn
    from torch.distributions import Bernoulli, Independent

    import hardgrad as hg

    torch.set_num_threads(1)
    torch.manual_seed(0)
    american = hasattr(hg, "LearnedRanges")
    learned: Any = hg.LearnedRanges if american else getattr(hg, "LearntRanges")  # noqa: B009
    key = torch.rand(1024)
    rows = torch.randn(1024, 80)

    def switch(n: int, act: type[nn.Module], *, kind: Any = hg.Ranges, bank: bool = False) -> Callable[[], Any]:
        layer = hg.Switch(kind(POINTS), nn.Sequential(nn.Linear(80, 100), act(), nn.Linear(100, 1)), bank=bank)
        x, k = torch.randn(n, 80), torch.rand(n)
        return lambda: layer(x, k).sum().backward()

    def bridge(n: int, act: type[nn.Module]) -> Callable[[], Any]:
        imitation = nn.Sequential(nn.Linear(100, 100), act(), nn.Linear(100, 100))
        model = nn.Sequential(nn.Linear(80, 100), hg.Bridge(hg.hard.sign, imitation), nn.Linear(100, 1))
        x = torch.randn(n, 80)
        return lambda: model(x).sum().backward()

    made: Cases = {}
    for act in (nn.ReLU, nn.GELU):
        made |= {f"switch, {act.__name__}, {n} rows": switch(n, act) for n in (1, 64, 1024, 16384)}
        made[f"bank, {act.__name__}, 1024 rows"] = switch(1024, act, bank=True)
        made |= {f"bridge, {act.__name__}, {n} rows": bridge(n, act) for n in (64, 1024)}
    alone = hg.Switch(hg.Ranges(POINTS), nn.Sequential(nn.Linear(80, 100), nn.ReLU(), nn.Linear(100, 1)))
    made["switch, ReLU, 1 row, forward alone"] = lambda: alone(rows[:1], key[:1])
    made["learned points, 1024 rows"] = switch(1024, nn.ReLU, kind=learned)
    plain = hg.RangeEmbedding(hg.Ranges(POINTS), 16)
    options: Any = {"normalize" if american else "normalise": True}
    scaled = hg.RangeEmbedding(learned(POINTS), 16, **options)
    made["embedding, 1024 rows"] = lambda: plain(key).sum().backward()
    made["embedding, learned points, scaled"] = lambda: scaled(key).sum().backward()
    mask = hg.LayerMask(nn.Sequential(nn.Linear(80, 80), nn.ReLU(), nn.Linear(80, 80)), hg.Ranges(POINTS))
    made["layer mask, 1024 rows"] = lambda: mask(rows, key).sum().backward()
    gru = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(8, 16, batch_first=True), state="shared")
    sounds, keys = torch.randn(8, 50, 8), torch.rand(8, 50)
    made["GRU, 8 sequences of 50"] = lambda: gru(sounds, keys)[0].sum().backward()
    copied = nn.Sequential(nn.Linear(80, 100), hg.straight_through(hg.hard.sign), nn.Linear(100, 1))
    made["straight-through, 1024 rows"] = lambda: copied(rows).sum().backward()
    logits = torch.zeros(256, 16, requires_grad=True)
    q = lambda: Independent(Bernoulli(logits=logits), 1)  # noqa: E731
    made["rebar, 256 rows of 16"] = lambda: hg.rebar(q(), lambda b: (b - 0.4).square().sum(-1)).sum().backward()
    return made


def measure() -> dict[str, float]:
    """Return microseconds of processor time a step, the least of three times 0.15 s."""
    took = {}
    for name, step in cases().items():
        for _ in range(3):
            step()
        began = time.process_time()
        step()
        repeats = max(1, int(0.15 / max(time.process_time() - began, 1e-6)))
        times = []
        for _ in range(3):
            began = time.process_time()
            for _ in range(repeats):
                step()
            times.append((time.process_time() - began) / repeats)
        took[name] = 1e6 * min(times)
    return took


def main(sources: list[str], rounds: int) -> None:
    """Measure each source in processes of its own, in turns; print the least of each, and the last over the first."""
    seen: dict[str, list[dict[str, float]]] = {source: [] for source in sources}
    for _ in range(rounds):
        for source in sources:
            env = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
            ran = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=True)
            seen[source].append(json.loads(ran.stdout))
    for name in seen[sources[0]][0]:
        least = [min(took[name] for took in seen[source]) for source in sources]
        print(f"{name:36}", *(f"{us:10.1f}" for us in least), f"us {least[-1] / least[0]:6.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(measure()))
    else:
        words = sys.argv[1:]
        count = int(words.pop(words.index("--rounds") + 1)) if "--rounds" in words else 4
        main([word for word in words if word != "--rounds"], count)
