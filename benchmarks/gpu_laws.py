"""The laws and the modes of docs/evidence/pass-matrix.md on another device, in many processes, written down one by one.

``python benchmarks/gpu_laws.py --device cuda --jobs 12 --seconds 150 --out DIR``. A cut loses nothing: each process
appends what it found to a file of its own.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SMOKE = 10  # every so many
Item = tuple[str, str, str, Callable[[], str]]  # group, subject, law, what does it: "ok" or what is wrong


def items() -> Iterator[Item]:
    """Everything there is to try, the most telling first."""
    import laws
    import mc_laws
    import modes
    from cases import CASES
    from mc_cases import ESTIMATORS
    from mode_subjects import SUBJECTS, representatives

    law_of = {name: law for name, law in laws.LAWS.items() if name not in ("ONNX", "meta")}
    tried = [mode for mode in modes.MODES if mode.name != "ONNX"]
    yield from (("cpu", s.name, "as on the CPU", lambda s=s: as_on_cpu(s)) for s in SUBJECTS)
    yield from (("laws", str(c), n, lambda c=c, law=law: obey(law, c)) for n, law in law_of.items() for c in CASES)
    for name, law in mc_laws.LAWS.items():
        for e in (each for each in ESTIMATORS if mc_laws.applies(name, each)):
            yield "estimators", e.name, name, lambda e=e, law=law: obey(law, e)
    # After the laws: what the compiler has skipped once, at a graph break, no full graph may hold in the same process.
    yield from (("modes", s.name, m.name, lambda s=s, m=m: pair(s, (m,))) for m in tried for s in SUBJECTS)
    yield from (("inductor", s.name, "inductor", lambda s=s: pair(s, (modes.INDUCTOR,))) for s in SUBJECTS)
    graph = [m.name for m in tried if m.compiler or m.forward_only]
    both = [each for each in modes.pairs(tried) if len(each) == 2]
    for each in sorted(both, key=lambda pair: any(m.name in graph for m in pair)):
        slow = any(m.name in graph for m in each)
        for s in representatives() if slow else SUBJECTS:
            yield "pairs", s.name, f"{each[0]} + {each[1]}", lambda s=s, each=each: pair(s, each)


def obey(law: Callable[[Any], None], subject: Any) -> str:
    """Hold a subject against a law."""
    law(subject)
    return "ok"


def pair(subject: Any, modes: Any) -> str:
    """Hold a layer in some modes against plain eager code on the same device."""
    import mode_pairs

    found = mode_pairs.outcome(subject, modes)
    return "ok" if found.word in ("ok", "said", "torch") else found.text


def as_on_cpu(subject: Any) -> str:
    """Output and gradients of a layer in float64, here and on the CPU; one that draws has other numbers there."""
    import torch

    import modes
    import place

    def found(device: torch.device, seed: int) -> dict[str, Any]:
        model, (x, *keys) = subject.model().to(device), (each.to(device) for each in subject.inputs())
        torch.manual_seed(seed)
        run = lambda model, *inputs: model(*inputs)  # noqa: E731
        one = modes.GRADIENTS["backward"](run, model, x.detach().requires_grad_(), tuple(keys))
        return {name: value if value is None else value.detach().cpu() for name, value in one.items()}

    cpu = torch.device("cpu")
    first = found(cpu, 7)
    draws = modes.difference(subject, (), first, found(cpu, 8))
    return "ok" if draws else modes.difference(subject, (), found(place.DEVICE, 7), first) or "ok"


def work(number: int, jobs: int, until: float, out: Path, smoke: bool) -> None:
    """Try every ``jobs``-th item, from the ``number``-th on, until it is late."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    only = os.environ.get("ONLY", "").split(",")  # words of subjects; "" is in all
    asked = [item for item in items() if any(word in item[1].lower() for word in only)]
    mine = [item for i, item in enumerate(asked[:: SMOKE if smoke else 1]) if i % jobs == number]
    with (out / f"laws-{number}.jsonl").open("w") as file:
        for done, (group, subject, law, run) in enumerate(mine):
            if time.time() > until:
                break
            start = time.time()
            try:
                word = run()
            except BaseException as error:
                word = f"{type(error).__name__}: {error}"
            entry = {"group": group, "subject": subject, "law": law, "left": len(mine) - done - 1,
                     "found": " ".join(word.split())[:400], "seconds": round(time.time() - start, 2)}  # fmt: skip
            file.write(json.dumps(entry) + "\n")
            file.flush()


def summary(out: Path) -> str:
    """Return what was found, in Markdown; the numbers go to laws.json."""
    files = [path.read_text().splitlines() for path in sorted(out.glob("laws-*.jsonl"))]
    entries = [json.loads(line) for lines in files for line in lines if line.endswith("}")]
    left = sum(json.loads(lines[-1])["left"] for lines in files if lines and lines[-1].endswith("}"))
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    failures: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for entry in entries:
        counts[entry["group"]][entry["found"] != "ok"] += 1
        if entry["found"] != "ok":
            failures[entry["group"], entry["found"][:160]].append(f"{entry['subject']}: {entry['law']}")
    (out / "laws.json").write_text(json.dumps({"counts": counts, "not_reached": left, "entries": entries}))
    lines = [
        "| group | hold | fail |",
        "|---|--:|--:|",
        *(f"| {name} | {a} | {b} |" for name, (a, b) in counts.items()),
    ]
    said = [f"- {group}, {len(w)} times, as {'; '.join(w[:2])}: {what}" for (group, what), w in failures.items()]
    return "\n".join([*said, *lines, f"not reached: {left}"]) + "\n"


def main() -> None:
    """Start the processes, wait, and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--smoke", action="store_true", help=f"one in {SMOKE}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker >= 0:
        return work(options.worker, options.jobs, options.until, options.out, options.smoke)
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.time() + options.seconds
    environment = os.environ | {"HARDGRAD_DEVICE": options.device, "OMP_NUM_THREADS": "1",
                                "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
    command = [sys.executable, __file__, *sys.argv[1:], "--until", str(until), "--worker"]
    workers = [subprocess.Popen([*command, str(number)], env=environment) for number in range(options.jobs)]
    for worker in workers:
        try:
            worker.wait(max(1.0, until + 15 - time.time()))
        except subprocess.TimeoutExpired:
            worker.kill()
    text = summary(options.out)
    (options.out / "laws.md").write_text(text)
    print(text)
    return None


if __name__ == "__main__":
    main()
