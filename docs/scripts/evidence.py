"""What README.md and docs/evidence/index.md say of the records: python docs/scripts/evidence.py.

The blocks between ``<!-- NAME -->`` and ``<!-- end -->`` are written anew; tests/lab/test_evidence_page.py holds them
to the records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.experiments import experiments
from hardgrad_lab.report.experiment import sections_of
from hardgrad_lab.report.glance import in_brief
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, group_by_config, read_records
from hardgrad_lab.runs.standing import counted
from hardgrad_lab.runs.words import mean, say_mean

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
# Of the differentiable IF: its experiments, and the contestants of their tables that are told apart here.
SWITCHES = ("piecewise", "waveshaper", "ecg")
RIVALS = {
    "switch": "a switch",
    "plain-total": "a plain network of its size",
    "condition-input": "... that sees the key",
}
SETTINGS = ("gentle", "medium", "heavy")


def sections(found: Found, *, brief: bool) -> list[Section]:
    """Return the sections of the paper on bridges, or of the other experiments."""
    return [each for one in experiments() if one.brief == brief for each in sections_of(one, found, RESULTS)]


def switches(rest: Sequence[Section]) -> str:
    """Return the errors of switches beside those of plain networks, as Markdown."""
    lines = [f"| | {' | '.join(RIVALS.values())} | n |", "|---|--:|--:|--:|--:|"]
    for each in rest:
        if each.anchor not in SWITCHES:
            continue
        rows = {row[0]: row for row in each.cells}
        for place, task in enumerate(each.headings[1:], 1):
            runs = [group.n for group in each.groups if group.config["contestant"] == "switch"]
            cells = [rows[name][place] for name in RIVALS]
            title = f"[{each.title}](experiments.md#{each.anchor}), {task}"
            lines.append(f"| {title} | {' | '.join(cells)} | {min(runs)} |")
    return "\n".join(lines)


def toys(rest: Sequence[Section]) -> str:
    """Return how many sentences of papers on Monte Carlo gradients hold on their own toys."""
    (of,) = [each for each in rest if each.anchor == "toys"]
    said = [row[-1] for row in of.cells]
    agree = sum(each == "agrees" for each in said)
    return (
        f"Of {len(said)} sentences that papers on Monte Carlo gradients say of their own toy problems, {agree} hold "
        f"here ([the table](experiments.md#toys), {sum(group.n for group in of.groups)} runs)."
    )


def pages() -> str:
    """Return the pages of evidence, what each answers, what makes it and of how many records, as Markdown."""
    count = {folder.name: len(list(folder.glob("*.json"))) for folder in RESULTS.iterdir() if folder.is_dir()}
    runs = sum(count.values()) - count["doctor"]
    report = "hardgrad report --results results --guide docs/evidence/reproduction.md"
    guide = "hardgrad report doctor --results results/doctor --guide docs/evidence/which-estimator.md"
    whole = "What do the papers print, and what came out here? Every table, figure and claim."
    right, survives = "Is each Monte Carlo estimator right, beside enumeration?", "What does each layer survive?"
    rows = [
        ("reproduction", whole, report, runs),
        ("experiments", "What came out beside the papers: orders, codes, spikes, devices, toys?", report, "of these"),
        ("which-estimator", "Which gradient for which hard function?", guide, count["doctor"]),
        (
            "approximators",
            "Which network should a bridge have?",
            "python docs/scripts/tables.py",
            count["approximators"],
        ),
        ("benchmarks", "What does it cost, beside the bare function and beside peers?", "hardgrad bench", "by hand"),
        ("estimators", right, "pytest tests/test_enumeration.py", "in the test"),
        ("pass-matrix", f"{survives} Compile, vmap, export, DDP ...", "pytest tests/test_laws.py", "in the test"),
    ]
    head = ["| page | what it answers | what writes it | records |", "|---|---|---|--:|"]
    return "\n".join([*head, *(f"| [{name}]({name}.md) | {asks} | `{by}` | {n} |" for name, asks, by, n in rows)])


def headlines(found: Found) -> str:
    """Return three numbers and one that falls short, with the files that they are read from, as Markdown."""
    one = {each.name: each for each in experiments()}
    sorting = [_ours(one["sorting"], found, task, "signum-dense", "accuracy", ".2%") for task in ("10", "5")]
    devices = {
        name: [_ours(one["devices"], found, task, name, "esr", ".2%") for task in SETTINGS]
        for name in ("compressor", "their-encoder-decoder")
    }
    boxes, theirs = ([says.partition(" ±")[0] for says, _ in each] for each in devices.values())
    doctor = RESULTS / "doctor" / "categorical-oscillator.json"
    rows = {row["name"]: row for row in json.loads(doctor.read_text(encoding="utf-8"))["diagnosis"]["rows"]}
    cosines = [f"{rows[name]['cosine']:.2f}" for name in ("reinmax", "gumbel", "score_function, 8 left out")]
    bound = [_ours(one["density"], found, "mnist-static", name, "best_bound", ".1f") for name in ("bridge", "relax")]
    published = {
        task: f"{one['sorting'].published[task, 'signum-dense']['accuracy'].value:.2%}" for task in ("10", "5")
    }
    return "\n".join([
        f"- **{sorting[0][0]}** of rows of ten numbers sorted without a fault, by a network with a hard sign in its "
        f"middle; the paper has {published['10']} {_files(sorting[0][1])}. Of five numbers {sorting[1][0]}, the paper "
        f"{published['5']} {_files(sorting[1][1])}.",
        f"- **{', '.join(boxes)}** of the energy is wrong when seven settings that learn imitate a studio compressor "
        f"(gentle, medium, heavy); the best published network has {', '.join(theirs)} on the same sounds "
        f"{_files([file for _, files in devices['compressor'] for file in files])}.",
        f"- **{cosines[0]} and {cosines[1]}**: the cosine between the true gradient and those of ReinMax and "
        f"Gumbel-Softmax where a network chooses one of four oscillators: both point uphill. The score function's is "
        f"{cosines[2]} {_files([doctor])}.",
        f"- And a defeat: over drawn bits a bridge ends at {bound[0][0]} nats where RELAX has {bound[1][0]}, after the "
        f"same 30 epochs {_files([file for _, files in bound for file in files])}.",
    ])  # fmt: skip


def _ours(
    experiment: Experiment, found: Found, task: str, contestant: str, metric: str, form: str
) -> tuple[str, list[Path]]:
    """Return a mean with its deviation over runs that count, and their files."""
    records, _ = found.of(experiment.name, lambda _: None)
    group = counted(experiment, group_by_config(records, experiment.read), task, contestant)
    assert group is not None
    files = {id(record): path for path, record in found.records}
    return say_mean(mean(group, metric), form), [files[id(record)] for record in group.records]


def _files(paths: Sequence[Path]) -> str:
    """Return links to the files, which a README of a forge can follow."""
    return "(" + ", ".join(f"[{n}]({path.relative_to(ROOT).as_posix()})" for n, path in enumerate(paths, 1)) + ")"


def fill(page: Path, blocks: dict[str, str]) -> str:
    """Return a page with its marked blocks written anew."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        marked = rf"<!-- {name} -->.*?<!-- end -->"
        assert len(re.findall(marked, text, flags=re.DOTALL)) == 1, f"{page.name} has no block {name}"
        new = f"<!-- {name} -->\n{block}\n<!-- end -->"
        text = re.sub(marked, lambda _, new=new: new, text, flags=re.DOTALL)
    return text


def written() -> dict[Path, str]:
    """Return each page as it should be."""
    found = read_records(RESULTS)
    ours, rest = (sections(found, brief=brief) for brief in (False, True))
    index = {
        "glance": in_brief(ours, "reproduction.md"),
        "switches": switches(rest),
        "toys": toys(rest),
        "pages": pages(),
    }
    return {
        (page := ROOT / "docs" / "evidence" / "index.md"): fill(page, index),
        (page := ROOT / "README.md"): fill(page, {"headlines": headlines(found)}),
    }


if __name__ == "__main__":
    for page, text in written().items():
        page.write_text(text, encoding="utf-8")
