"""A diagnosis that was stopped by hand: what was measured is kept."""

from __future__ import annotations

from hardgrad.doctor.diagnosis import Diagnosis


class Stopped(KeyboardInterrupt):
    """Somebody stopped a diagnosis after some of its candidates were measured.

    Args:
        diagnosis: what was measured; ``Diagnosis.stopped`` says that it is not whole.
        measured: how many candidates were.
    """

    reason = "it was stopped by hand"  # in ``Diagnosis.stopped``

    def __init__(self, diagnosis: Diagnosis, measured: int) -> None:
        super().__init__(
            f"stopped after {measured} of {len(diagnosis.rows)} candidates were measured; .diagnosis has them"
        )
        self.diagnosis, self.measured = diagnosis, measured

    def __reduce__(self) -> tuple[type[Stopped], tuple[Diagnosis, int]]:
        return type(self), (self.diagnosis, self.measured)
