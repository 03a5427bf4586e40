"""The benchmark of the author's talk in C: a switch of five 4x4 branches against an 8x8 network, in blocks of 512.

Both are trained alike on a map of five linear pieces and exported by ``hardgrad export --to c``; one program runs them
in turn on one core, on processor time. The talk's: 535 times real time, and 263.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from hardgrad_lab import SwitchRegressor
from hardgrad_lab.experiments.switches.piecewise import RATE
from hardgrad_lab.experiments.switches.piecewise.run import TALK_POINTS, talk_map
from hardgrad_lab.export.c_switch import switch_code
from hardgrad_lab.export.c_text import header
from hardgrad_lab.export.plan import plan_of
from hardgrad_lab.fit.tables import INPUT

FLAGS = (["-O2"], ["-O3"], ["-O3", "-march=native"])
PROGRAM = """\
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "five.h"
#include "one.h"
enum { BLOCK = 512, BLOCKS = 64, ROUNDS = %d };
static float x[BLOCK * BLOCKS], y[BLOCK];
static double taken[2][ROUNDS];
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int order(const void* a, const void* b) {
  double d = *(const double*)a - *(const double*)b;
  return d < 0 ? -1 : d > 0;
}
#define RUN(name, seconds) do { \\
  int k, j; name##_state s; double begin; name##_init(&s); begin = now(); \\
  for (k = 0; k < BLOCKS; k++) { \\
    for (j = 0; j < BLOCK; j++) y[j] = x[k * BLOCK + j]; \\
    name##_process(&s, y, BLOCK); sum += y[k]; \\
  } seconds = now() - begin; } while (0)
int main(void) {
  int i; double sum = 0;
  for (i = 0; i < BLOCK * BLOCKS; i++) x[i] = 2.0f * (float)rand() / (float)RAND_MAX - 1;
  for (i = 0; i < ROUNDS; i++) { RUN(five, taken[0][i]); RUN(one, taken[1][i]); }
  for (i = 0; i < 2; i++) qsort(taken[i], ROUNDS, sizeof(double), order);
  printf("%%.9g %%.9g %%.9g %%.9g %%g\\n", taken[0][ROUNDS / 2], taken[1][ROUNDS / 2], taken[0][ROUNDS / 10],
         taken[1][ROUNDS / 10], sum);
  return 0;
}
"""
SECONDS = 512 * 64 / RATE  # of sound in one round


def measure(rounds: int, rows: int, epochs: int) -> None:
    """Train both, and print their errors and how many times real time they run, for each set of compiler flags."""
    x = np.random.default_rng(0).uniform(-1, 1, rows)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, points, hidden in (("five", TALK_POINTS, (4, 4)), ("one", (-1.0, 1.0), (8, 8))):
            model = SwitchRegressor(list(points), branch="mlp", hidden=hidden, epochs=epochs, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(pd.DataFrame({INPUT: x}), talk_map(x))
            plan = plan_of(model)
            (place / f"{name}.h").write_text(header(name, switch_code(plan), [], double=plan.double))
            fresh = np.random.default_rng(1).uniform(-1, 1, 100_000)
            wrong = model.predict(pd.DataFrame({INPUT: fresh})) - talk_map(fresh)
            esr = np.square(wrong).sum() / np.square(talk_map(fresh)).sum()
            said = "a switch of five 4x4" if name == "five" else "one 8x8           "
            print(f"{said}  ESR {esr:.2g} after {model.steps_:,} steps, {'double' if plan.double else 'float'}")
        (place / "race.c").write_text(PROGRAM % rounds)
        for flags in FLAGS:
            _race(place, flags)


def _race(place: Path, flags: list[str]) -> None:
    words = ["cc", "-std=c99", *flags, "race.c", "-o", "race", "-lm"]
    subprocess.run(words, cwd=place, check=True)
    said = subprocess.run([str(place / "race")], check=True, capture_output=True, text=True).stdout.split()
    five, one, best_five, best_one = (SECONDS / float(each) for each in said[:4])
    print(
        f"{' '.join(flags):18}  switch {five:,.0f} times real time, 8x8 {one:,.0f}, {five / one:.2f} times as fast "
        f"(medians); a tenth of the rounds took less: {best_five:,.0f}, {best_one:,.0f}"
    )
