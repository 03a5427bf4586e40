"""The picture and the tables of docs/guides/draws.md: python docs/scripts/draws.py, some three minutes of one core."""

from __future__ import annotations

import re
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributions import Bernoulli, Independent

import hardgrad as hg
from hardgrad_lab.drawing.figures import COLOURS, DASHES, Drawn, compact_svg, legend, sized_figure

PAGE = Path(__file__).parents[1] / "guides" / "draws.md"
SEEDS, STEPS, EVERY = 3, 500, 50
EARLY, LATE = 150, 1500

Curve = list[float]


def page_names() -> dict[str, Any]:
    """Run the page's own model and loop, so that picture and text cannot differ."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks[:2]:
        exec(block.split("\nmodel = fit(")[0], names)
    return names


def contestants() -> dict[str, tuple[Any, torch.nn.Module | None]]:
    """Return estimators by the name and the evaluations of f that the table has, each with its control if it learns."""
    control = hg.montecarlo.RebarControl(temperature=0.5)
    return {
        "each_unit|11": (hg.each_unit, None),
        "score_function, 8 left out|8": (partial(hg.score_function, samples=8, baseline="leave_one_out"), None),
        "reinmax|1": (hg.reinmax, None),
        "rebar, learned|2": (partial(hg.rebar, control=control), control),
        "disarm|2": (hg.disarm, None),
        "straight_through_estimator|1": (hg.montecarlo.straight_through_estimator, None),
        "score_function, one draw|1": (hg.score_function, None),
    }


def curve(names: dict[str, Any], name: str, seed: int) -> Curve:
    """Return the test bound every so many steps: the page's loop, which is asked for its model along the way."""
    estimator, control = contestants()[name]
    seen: Curve = []
    steps = 0

    def watched(q: Any, f: Any) -> Any:
        nonlocal steps
        if steps % EVERY == 0:
            model, state = f.func.__self__, torch.get_rng_state()
            seen.append(names["bound"](model, names["test_set"]))
            torch.set_rng_state(state)
        steps += 1
        return estimator(q, f)

    seen.append(names["bound"](names["fit"](watched, STEPS, seed=seed, control=control), names["test_set"]))
    return seen


def picture(curves: dict[str, list[Curve]]) -> Drawn:
    """Draw the mean bound over steps."""
    figure, (panel,) = sized_figure(6.4, 3.6)
    for (name, runs), colour, dash in zip(curves.items(), COLOURS * 2, DASHES * 3, strict=False):
        mean = [statistics.mean(values) for values in zip(*runs, strict=True)]
        panel.plot(range(EVERY, STEPS + 1, EVERY), mean[1:], color=colour, ls=dash, label=name.split("|")[0])
    panel.set(xlabel="training step", ylabel="test bound, nats a picture", ylim=(-26, -20.4))
    legend(figure, [panel])
    return figure


def measured(names: dict[str, Any]) -> str:
    """Return what the doctor sees on the page's objective early and late in training with ReinMax, as Markdown."""
    candidates: dict[str, Any] = {
        "`straight_through_estimator`": hg.montecarlo.straight_through_estimator,
        "`gumbel`": hg.gumbel,
        "`reinmax`": hg.reinmax,
        "`disarm`": hg.disarm,
        "`rebar`": hg.rebar,
        "`score_function`, 8 left out": partial(hg.score_function, samples=8, baseline="leave_one_out"),
        "`each_unit`": hg.each_unit,
        "`score_function`, one draw": hg.score_function,
    }
    x, seen = names["train_set"][:16], []
    for steps in (EARLY, LATE):
        model = names["fit"](hg.reinmax, steps)
        q = Independent(Bernoulli(logits=model.encoder(x).detach()), 1)
        seen.append(hg.diagnose(candidates, partial(model.cost, x), q, draws=1000))
    rows = ["| early → late | f | bias | variance | progress |", "|---|--:|--:|--:|--:|"]
    for name in candidates:
        both = [one[name] for one in seen]
        bias = [f"{row.bias:.0%}" if row.biased else f"< {row.smallest_bias or 0:.0%}" for row in both]
        variance = [f"{rounded(row.variance / one.truth.norm**2):,g}" for row, one in zip(both, seen, strict=True)]
        progress = [f"{row.progress:.2f}" for row in both]
        pairs = [" → ".join(pair) for pair in (bias, variance, progress)]
        rows.append(" | ".join([f"| {name}", str(round(both[0].evaluations)), *pairs]) + " |")
    return "\n".join(rows)


def rounded(number: float) -> float:
    """Return a number to two digits."""
    return float(f"{number:.2g}")


def table(curves: dict[str, list[Curve]]) -> str:
    """Return the last bounds as Markdown."""
    rows = ["| | evaluations of f | test bound, nats | n |", "|---|--:|--:|--:|"]
    for name, runs in curves.items():
        last = [run[-1] for run in runs]
        label, evaluations = name.split("|")
        cells = (f"`{label.split(',')[0]}`{''.join(label.partition(',')[1:])}", evaluations)
        rows.append(
            f"| {cells[0]} | {cells[1]} | {statistics.mean(last):.2f} ± {statistics.stdev(last):.2f} | {len(last)} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Train, draw, and write the table between its marks."""
    names = page_names()
    curves = {name: [curve(names, name, seed) for seed in range(SEEDS)] for name in contestants()}
    path = PAGE.parent / "pictures" / "draws-bounds.svg"
    path.write_text(compact_svg(picture(curves), "draws-bounds"), encoding="utf-8")
    write("bounds", table(curves))
    write("early and late", measured(names))


def write(name: str, made: str) -> None:
    """Put a table between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    marks = rf"(<!-- draws: {name} -->\n).*?(<!-- end -->)"
    PAGE.write_text(re.sub(marks, rf"\g<1>{made}\n\g<2>", text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
