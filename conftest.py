"""The Python blocks of README and docs run as tests; docstring examples do by pytest's own --doctest-modules."""

import os

# Before anything reads it: two workers with two threads of BLAS each, on two cores, wait for each other; a test of
# small matrices takes 27 times as long. Programs that the tests start take it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["README.md", "docs/*.md"]).pytest()
