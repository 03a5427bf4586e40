"""What the doctor says in words, of rows made up for the purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hardgrad.doctor.advice import advise, warnings_of
from hardgrad.doctor.diagnosis import Row, Truth

TRUTH = Truth("enumeration", norm=1.0, standard_error=0.0, evaluations=8, resolved=True)
EXACT = Row(
    "exact", "estimator", bias=0.0, bias_z=0.0, cosine=1.0, cosine_error=0.0, progress=0.9, seconds=1e-3, zeros=0.0
)
BIASED = replace(EXACT, name="biased", bias=0.5, bias_z=50.0, cosine=0.9, signal_to_noise=4.0, progress=0.6)
UPHILL = replace(BIASED, name="uphill", cosine=-0.5, cosine_error=0.01, progress=0.95)
FLAT = replace(EXACT, name="flat", zeros=1.0, progress=0.0, cosine=None)
REFUSED = Row("refused", "layer", error="ValueError: no")


def test_the_most_progress_wins_and_what_is_of_no_use_never_does() -> None:
    said = advise((REFUSED, FLAT, UPHILL, BIASED, EXACT), TRUTH, 1e-4)
    assert said == (
        "use exact: a step along one gradient gains 0.9 of what the true gradient would (no bias found, no noise), in "
        "the time of 10 evaluations of the function."
    )


def test_of_equals_the_cheapest_wins() -> None:
    cheaper = replace(EXACT, name="cheaper", progress=0.82, seconds=5e-4)
    assert advise((EXACT, cheaper), TRUTH, 1e-4).startswith("use cheaper")
    worse = replace(cheaper, progress=0.8)  # less than nine tenths of 0.9
    said = advise((EXACT, replace(worse, seconds=2e-4)), TRUTH, 1e-4)
    assert said.startswith("use exact")
    assert said.endswith(
        "If time counts, cheaper: a step along one gradient gains 0.8 of what the true gradient would, in the time of "
        "2 evaluations of the function."
    )
    assert "If time counts" not in advise((EXACT, replace(worse, seconds=6e-4)), TRUTH, 1e-4)


def test_a_biased_choice_names_the_best_without_bias() -> None:
    noisy = replace(EXACT, name="noisy", progress=0.1, signal_to_noise=0.1)
    said = advise((noisy, BIASED, replace(noisy, name="noisier", progress=0.01)), TRUTH, 1e-4)
    assert said.startswith("use biased")
    assert "(bias 50%, signal to noise 4)" in said
    assert "without bias, noisy: a step along one gradient gains 0.1 of" in said
    assert "Every one of the candidates is biased here." in advise((BIASED, FLAT), TRUTH, 1e-4)


@pytest.mark.parametrize("rows", [(), (REFUSED,), (FLAT, UPHILL)])
def test_nothing_is_advised_where_nothing_is_of_use(rows: tuple[Row, ...]) -> None:
    assert advise(rows, TRUTH, 1e-4).startswith("none of these")
    assert advise((EXACT,), replace(TRUTH, resolved=False), 1e-4).startswith("none: where there is no true gradient")


def test_warnings() -> None:
    assert warnings_of((EXACT, BIASED, REFUSED), TRUTH, 0) == ()
    assert warnings_of((UPHILL,), TRUTH, 0) == (
        "uphill points uphill: cosine -0.50 +- 0.01 with the truth; a step along it makes the objective worse",
    )
    assert warnings_of((FLAT,), TRUTH, 0) == ("flat gives no gradient: all of it is exactly zero",)
    some = tuple(replace(EXACT, name=name, uphill_rows=share) for name, share in (("a", 0.25), ("b", 0.5)))
    (line,) = warnings_of(some, TRUTH, 0)
    assert line == "uphill in some of the rows, if not over the whole batch: a: 25%; b: 50%"
    assert "learns" in warnings_of((replace(EXACT, learns=True),), TRUTH, 0)[0]
    assert warnings_of((replace(EXACT, learns=True),), TRUTH, 10) == ()
    assert "make 40% of" in warnings_of((replace(EXACT, dead=0.4),), TRUTH, 0)[0]
    assert warnings_of((replace(EXACT, dead=0.04),), TRUTH, 0) == ()
    rough = replace(TRUTH, kind="long run", standard_error=0.2)
    assert warnings_of((), rough, 0) == ("the truth itself is known to 20% only; a larger budget sharpens it",)
    assert "not told apart from zero" in warnings_of((), replace(rough, resolved=False), 0)[0]
