"""What a diagnosis says of one candidate: plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

SIGNIFICANT = 4.0  # standard errors from which a bias counts as found; chance alone makes it once in 1000 at the most
SEEN = 0.1  # of the truth's norm: "without bias" is said only where so small a bias would have been found


@dataclass(frozen=True)
class Row:
    r"""One candidate. A number is None where its question has no answer: the angle to a zero gradient, say.

    A gradient is that of the whole batch, as one vector. :math:`g` is the expected gradient of the candidate, :math:`t`
    the truth; what the noise of either adds to a norm is taken off.

    Args:
        name: as it was given.
        kind: "layer" or "estimator".
        bias: :math:`\lVert g - t \rVert / \lVert t \rVert`.
        bias_norm: :math:`\lVert g - t \rVert`.
        bias_z: how significant the bias is: that of a normal variate so many standard errors from 0.
        smallest_bias: the smallest bias, relative as ``bias`` is, that would have been found nine times in ten,
            whatever its direction; None where nothing is said relative to the truth, and in records of before.
        norm_ratio: :math:`\lVert g \rVert / \lVert t \rVert`.
        variance: of one gradient, summed over coordinates.
        signal_to_noise: :math:`\lVert t \rVert^2` over the variance; None for a variance of 0.
        cosine: between g and t; None where g is lost in its noise.
        cosine_error: standard error of the cosine.
        cosine_of_one: mean cosine between one gradient and t.
        progress: what a step along one gradient gains at its best length, over what a step along t gains, on an
            objective equally curved in all directions: :math:`\langle g, t \rangle^2` over
            :math:`\lVert t \rVert^2` and the mean square of one gradient. 0 uphill, 1 for the truth itself.
        sign_agreement: share of coordinates with the sign of the truth, among those where it is not zero.
        dead: share of :math:`\lVert t \rVert^2` that is at coordinates which no gradient ever moved.
        uphill_rows: share of the batch's rows whose own expected gradient points away from the truth, significantly.
        zeros: share of exact zeros among the coordinates of single gradients.
        seconds: for one gradient of the batch, by the clock: ``Diagnosis.clock``.
        bytes_kept: for the backward pass, by autograd.
        peak_bytes: most memory at once, on CUDA.
        evaluations: of the function, for each row.
        draws: how many gradients these numbers are from.
        learns: whether it has weights that learn from a penalty.
        mean: the expected gradient, flat, of the first coordinates; ``Truth.gradient`` is the same of the truth.
        error: why there are no numbers, in the candidate's own words; None if there are.
    """

    name: str
    kind: str
    bias: float | None = None
    bias_norm: float | None = None
    bias_z: float | None = None
    norm_ratio: float | None = None
    variance: float | None = None
    signal_to_noise: float | None = None
    cosine: float | None = None
    cosine_error: float | None = None
    cosine_of_one: float | None = None
    progress: float | None = None
    sign_agreement: float | None = None
    dead: float | None = None
    uphill_rows: float | None = None
    zeros: float | None = None
    seconds: float | None = None
    bytes_kept: int | None = None
    peak_bytes: int | None = None
    evaluations: float | None = None
    draws: int = 0
    learns: bool = False
    mean: tuple[float, ...] = ()
    error: str | None = None
    smallest_bias: float | None = None

    @property
    def uphill(self) -> bool:
        """Whether the expected gradient points away from the truth, by two standard errors."""
        return self.cosine is not None and self.cosine + 2 * (self.cosine_error or 0.0) < 0

    @property
    def flat(self) -> bool:
        """Whether every gradient was zero."""
        return self.zeros == 1

    @property
    def biased(self) -> bool:
        """Whether a bias was found: one of four standard errors. Where there is none, chance makes one in 1000 rows."""
        return self.bias_z is not None and self.bias_z >= SIGNIFICANT

    @property
    def unbiased(self) -> bool:
        """Whether no bias was found, and one of a tenth of the truth would have been nine times in ten.

        Neither ``biased`` nor ``unbiased`` means that these draws cannot say: ``smallest_bias`` is what they could see.
        """
        if self.bias_z is None or self.biased or self.flat:
            return False
        if self.smallest_bias is None:  # nobody had asked, in records of before; or there is nothing to be relative to
            return self.bias is not None
        return self.smallest_bias <= SEEN
