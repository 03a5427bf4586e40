"""Every law over every case; what passed becomes docs/evidence/pass-matrix.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import distributed
from cases import CASES, Case
from laws import LAWS


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.filterwarnings("ignore::Warning:torch.*", "ignore::Warning:onnx.*", "ignore::Warning:copyreg")
def test_law(law: str, case: Case, record_property: Callable[[str, object], None]) -> None:
    record_property("law", f"{case.surrogate}|{case.hard}|{law}")
    LAWS[law](case)


@pytest.fixture(scope="module")
def ddp_errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return distributed.run_two_processes(tmp_path_factory.mktemp("ddp"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_distributed(case: Case, ddp_errors: dict[str, str], record_property: Callable[[str, object], None]) -> None:
    """Two gloo processes on half a batch each get the gradient of one process on the joint batch."""
    record_property("law", f"{case.surrogate}|{case.hard}|{distributed.LAW}")
    assert ddp_errors[str(case)] == ""
