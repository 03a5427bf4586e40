"""The product of all pairs of modes over every layer of the library: ``python tests/mode_pairs.py [--jobs N]``.

Writes the section "Pairs of modes" of docs/evidence/pass-matrix.md, and fails where a pair fails. Each pair gives what
plain eager code gives under the pair's settings, or raises a sentence of ours that names the layer. Where a layer of
torch alone fails too, the pair is torch's.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from mc_bank import unchecked
from mode_subjects import SUBJECTS, Subject, control_of, representatives
from modes import BROKEN, EXPLAINED, INDUCTOR, MODES, NOT_LINEAR, Found, Mode, difference, pairs, run, settings

PAGE = Path(__file__).parent.parent / "docs" / "evidence" / "pass-matrix.md"
HEADING = "\n## Pairs of modes\n"
_OURS = re.compile(
    r"\b(Bridge|Codebook|ResidualCodebook|levels|lookup_free|BlackBox|straight_through|perturb|interpolated|perturbed|imle|fenchel_young|spo_plus|graft|Switch|Ranges|LearnedRanges|Grid|If|Hysteresis|RangeEmbedding|LayerMask|LearnedScale|LearnedClip|Compressor|"
    r"RecurrentSwitch|CrossFade|MovingAverage|penalties|exact|score_function|disarm|arms|rebar|relax|gumbel|gumbel_rao|"
    r"carms|each_unit|unordered_set|double_cv|gapped|"
    r"Ballistics|EnvelopeKey|Gate|"
    r"reinmax|straight_through_estimator|bridge_estimator)(\([^)\n]*\))?: [^\n]{20,}"
)


@dataclass(frozen=True)
class Outcome:
    """What a pair came to: "ok", "said" (by us), "torch" (refuses its own layers too) or "FAIL"; and in which words."""

    word: str
    text: str = ""


def outcome(subject: Subject, modes: tuple[Mode, ...]) -> Outcome:
    """Try a subject in these modes."""
    with warnings.catch_warnings(), unchecked():
        warnings.simplefilter("ignore")
        try:
            found = run(subject, modes)
            wrong = difference(subject, modes, found, _right(subject, settings(modes)))
        except Exception as error:
            return _refused(subject, modes, error)
    if wrong is None:
        return Outcome("ok")
    explained = EXPLAINED.get(frozenset(m.name for m in modes))
    if explained and subject.owned and wrong.startswith(subject.owned):
        return Outcome("said", explained)
    for said in (NOT_LINEAR.get((subject.family, m.name)) for m in modes):
        if said is not None:
            return Outcome("said", said)
    return Outcome("torch" if _torch_refuses(control_of(subject), modes) else "FAIL", wrong)


@cache
def _right(subject: Subject, modes: tuple[Mode, ...]) -> Found:
    return run(subject, modes)


@cache
def _torch_refuses(control: Subject, modes: tuple[Mode, ...]) -> bool:
    try:
        return difference(control, modes, run(control, modes), _right(control, settings(modes))) is not None
    except Exception:
        return True


def _refused(subject: Subject, modes: tuple[Mode, ...], error: BaseException | None) -> Outcome:
    first = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    if _torch_refuses(control_of(subject), modes):
        return Outcome("torch", first)
    while error is not None:
        said = _OURS.search(str(error))
        if said:
            return Outcome("said", said.group(0))
        error = error.__cause__ or error.__context__
    broken = BROKEN.get((subject.family, frozenset(m.name for m in modes)))
    return Outcome("said", f"{broken} (torch's own error)") if broken else Outcome("FAIL", first)


@dataclass(frozen=True)
class Extent:
    """How much of the product to try: a mode that builds a graph takes a second or more.

    Args:
        whole: its pairs for every layer, not for one of each family alone.
        part: of how many parts of its pairs, and which one; (1, 0) is all of them. Where a layer is not the one of its
            family, modes that build a graph count among the pairs; where it is, "inductor" is tried in its turn.
    """

    whole: bool = False
    part: tuple[int, int] = (1, 0)


def tried(subject: Subject, extent: Extent) -> list[tuple[Mode, ...]]:
    """Return the modes and pairs of a layer."""
    graphs = extent.whole or subject in representatives()
    parts, mine = extent.part
    slow = [modes for modes in pairs() if len(modes) > 1 and any(map(_builds_a_graph, modes))]
    quick = [modes for modes in pairs() if len(modes) > 1 and modes not in slow]
    left_out = [modes for number, modes in enumerate(slow) if not graphs or number % parts != mine]
    left_out += [modes for number, modes in enumerate(quick) if number % parts != mine]
    alone = [modes for modes in pairs() if len(modes) == 1 and _builds_a_graph(modes[0]) and not graphs]
    left_out += [modes for number, modes in enumerate(alone) if number % parts != mine]
    chosen = [modes for modes in pairs() if modes not in left_out]
    return [*chosen, (INDUCTOR,)] if graphs and SUBJECTS.index(subject) % parts == mine else chosen


def _builds_a_graph(mode: Mode) -> bool:
    return mode.compiler is not None or mode.forward_only


def _of_subject(subject: Subject, extent: Extent) -> tuple[str, dict[tuple[str, ...], Outcome]]:
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    return subject.name, {tuple(m.name for m in modes): outcome(subject, modes) for modes in tried(subject, extent)}


def product(subjects: list[Subject], jobs: int, extent: Extent) -> dict[str, dict[tuple[str, ...], Outcome]]:
    """Try every pair over the subjects, in some processes."""
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        found = {}
        by_cost = sorted(range(len(subjects)), key=lambda i: -len(tried(subjects[i], extent)))
        for name, outcomes in pool.imap_unordered(partial(_number, extent=extent), by_cost, chunksize=1):
            found[name] = outcomes
            counts = {word: sum(o.word == word for o in outcomes.values()) for word in ("ok", "said", "torch", "FAIL")}
            print(f"{name}: {counts}", flush=True)
    return {subject.name: found[subject.name] for subject in subjects}


def _number(i: int, extent: Extent) -> tuple[str, dict[tuple[str, ...], Outcome]]:
    return _of_subject(SUBJECTS[i], extent)


def section(found: dict[str, dict[tuple[str, ...], Outcome]]) -> str:
    """Return the section of the page."""
    names = [mode.name for mode in (*MODES, INDUCTOR)]
    lines = [HEADING + _INTRODUCTION, f"| layer | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for subject, outcomes in found.items():
        cells = [_cell([o for modes, o in outcomes.items() if name in modes]) for name in names]
        lines.append(f"| {subject} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_sentences(found)]) + "\n"


def _cell(outcomes: list[Outcome]) -> str:
    words = [o.word for o in outcomes]
    parts = [f"{word} {words.count(word)}" for word in ("FAIL", "said") if word in words]
    return ", ".join(parts) or ("ok" if words else "-")


def _sentences(found: dict[str, dict[tuple[str, ...], Outcome]]) -> list[str]:
    """Every sentence that a pair is refused by, with the pairs; and every failure."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for subject, outcomes in found.items():
        for modes, o in outcomes.items():
            if o.word in ("said", "FAIL"):
                groups[f"{'FAIL ' if o.word == 'FAIL' else ''}{o.text}"][subject].append(" + ".join(modes))
    lines = ["What is refused, and in which words:", ""] if groups else []
    for text, where in sorted(groups.items()):
        lines.append(f"- {text}")
        lines += [f"  - {subject}: {_joined(tried)}" for subject, tried in where.items()]
    return lines


def _joined(tried: list[str]) -> str:
    """Pairs of a mode that is refused alone are not named again."""
    alone = {each for each in tried if " + " not in each}
    rest = [each for each in tried if each not in alone and not alone & set(each.split(" + "))]
    return "; ".join([f"{each}, alone and beside any other" for each in tried if each in alone] + rest)


_INTRODUCTION = """
Every layer of the library in the middle of a small model, in every mode alone and in every pair of modes that can be
together. Modes are settings that change what is right (evaluation, dtypes, autocast, no rows, parameters frozen in
part) and ways that must change nothing. Value, gradients, dtype, and which parameters have no gradient are those of
plain eager code under the settings, or a sentence of ours is raised, or stands in the docs. A cell counts the pairs of
its column: "ok" where all of them hold. Pairs that torch refuses for a layer of its own are left out. A mode that
builds a graph (compilers, export, ONNX) meets the others in one layer of each family, and stands alone in the rest;
`--whole` tries them all. `python tests/mode_pairs.py` writes this; `tests/mode_subjects.py` has the layers,
`tests/modes.py` the modes.
"""


def write(found: dict[str, dict[tuple[str, ...], Outcome]]) -> None:
    """Put the section at the end of the page, in place of the one that is there."""
    before = PAGE.read_text().split(HEADING)[0] if PAGE.exists() else ""
    PAGE.write_text(before + section(found))


def _part(text: str) -> tuple[int, int]:
    mine, parts = map(int, text.split("/"))
    return parts, mine % parts


def main() -> int:
    """Run the product; the exit status says whether a pair failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="pairs that build a graph for every layer, too")
    parser.add_argument("--only", help="part of a subject's name; then the page is left alone")
    parser.add_argument(
        "--part", type=_part, default=(1, 0), metavar="I/N",
        help="of the pairs every N-th, from the I-th on, counted from 0; the page is left alone",
    )  # fmt: skip
    options = parser.parse_args()
    extent = Extent(options.whole, options.part)
    chosen = [s for s in SUBJECTS if not options.only or options.only.lower() in s.name.lower()]
    if options.only:
        found = dict(_of_subject(subject, extent) for subject in chosen)
        print("\n".join(_sentences(found)))
    else:
        found = product(chosen, options.jobs, extent)
        if options.part == (1, 0):
            write(found)
        else:
            print("\n".join(line for line in _sentences(found) if "FAIL" in line))
    failed = sum(o.word == "FAIL" for outcomes in found.values() for o in outcomes.values())
    passed = sum(len(outcomes) for outcomes in found.values()) - failed
    print(f"{passed} passed, {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
