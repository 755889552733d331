"""Interpolation: the most probable samples of a gap under an autoregressive model."""

import numpy as np
from jaxtyping import Float
from scipy import fft

from weft.audio.prediction import BLOCK_SAMPLES, extrapolate, row_dot
from weft.errors import ConfigError, ShapeError

_BATCHED_TOEPLITZ = 512


def fill_least_squares(
    signals: Float[np.ndarray, "b n"],
    coefficients: Float[np.ndarray, "b p"],
    start: int,
    stop: int,
) -> Float[np.ndarray, "b g"]:
    """Fill a gap so that the prediction error over and after it has the least energy.

    For a Gaussian signal of these models this is the exact conditional mean given all known
    samples. Only errors whose whole past lies in the row are counted, and only those up to the end
    of the row; a gap at the end of the row is extrapolated. For a gap with little context before
    it, reverse the rows in time: the models are the same.

    Args:
        signals: one a row; what stands in the gap is ignored.
        coefficients: error filters with a leading 1, one a row.
        start: first sample of the gap, at least the order of the models.
        stop: one past its last sample.

    Raises:
        ShapeError: other numbers of rows, or the gap is empty or reaches outside the row.
        ConfigError: there is less context before the gap than the order.

    Source: Janssen, Veldhuis & Vries 1986, equation of the unknown samples.

    Example:
        >>> line = np.array([[0.0, 1, 2, 0, 0, 0, 6, 7]])
        >>> filled = fill_least_squares(line, np.array([[1.0, -2.0, 1.0]]), 3, 6)
        >>> filled.round(9).tolist()
        [[3.0, 4.0, 5.0]]
    """
    order, length = coefficients.shape[1] - 1, signals.shape[1]
    if len(signals) != len(coefficients):
        raise ShapeError(f"{len(signals)} signals, but {len(coefficients)} models")
    if not 0 <= start < stop <= length:
        raise ShapeError(f"the gap must lie in samples 0-{length}, got {start}-{stop}")
    if start < order:
        raise ConfigError(
            f"order {order} needs as many samples before the gap, got {start}; "
            "reverse the signals in time or lower the order"
        )
    if stop == length:
        return extrapolate(signals[:, :start], coefficients, stop - start)
    gap = stop - start
    last = min(stop + order, length)
    error = signals[:, start - order : last].copy()
    error[:, order : order + gap] = 0
    size = fft.next_fast_len(error.shape[1] + order, real=True)
    transfer = fft.rfft(coefficients, size, axis=1)
    error = fft.irfft(fft.rfft(error, size, axis=1) * transfer, size, axis=1)
    error = error[:, order : order + last - start]
    right = -fft.irfft(fft.rfft(error, size, axis=1) * transfer.conj(), size, axis=1)[:, :gap]
    lags = np.zeros((len(signals), gap))
    size = fft.next_fast_len(2 * order + 1, real=True)
    transfer = fft.rfft(coefficients, size, axis=1)
    count = min(gap, order + 1)
    power = transfer.real**2 + transfer.imag**2
    lags[:, :count] = fft.irfft(power, size, axis=1)[:, :count]
    if last == stop + order:
        return solve_toeplitz(lags, right)
    after = length - stop
    return np.stack(
        [
            _solve_near_end(lags[row], right[row], coefficients[row], after)
            for row in range(len(signals))
        ]
    )


def solve_toeplitz(
    lags: Float[np.ndarray, "b g"], right: Float[np.ndarray, "b g"]
) -> Float[np.ndarray, "b g"]:
    """Solve symmetric positive definite Toeplitz systems, one a row, by Levinson's recursion.

    Args:
        lags: first columns of the matrices.
        right: right-hand sides.

    Raises:
        ShapeError: the arrays differ in shape.

    Example:
        >>> solve_toeplitz(np.array([[2.0, 1.0]]), np.array([[3.0, 3.0]])).tolist()
        [[1.0, 1.0]]
    """
    if lags.shape != right.shape:
        raise ShapeError(f"{lags.shape} lags, but {right.shape} right-hand sides")
    solution = np.zeros_like(right)
    if lags.shape[1] > _BATCHED_TOEPLITZ:
        from scipy import linalg

        for row in range(len(right)):
            solution[row] = linalg.solve_toeplitz(lags[row], right[row])
        return solution
    rows = max(1, BLOCK_SAMPLES // max(1, lags.shape[1]))
    for first in range(0, len(right), rows):
        block = slice(first, first + rows)
        _levinson(lags[block], right[block], solution[block])
    return solution


def _levinson(
    lags: Float[np.ndarray, "b g"],
    right: Float[np.ndarray, "b g"],
    solution: Float[np.ndarray, "b g"],
) -> None:
    """Run Levinson's recursion on a few rows, writing into ``solution``."""
    error = lags[:, 0].copy()
    filters = np.zeros_like(lags)
    filters[:, 0] = 1
    for m in range(lags.shape[1]):
        past = lags[:, m:0:-1]
        if m:
            reflection = -row_dot(filters[:, :m], past) / error
            filters[:, 1 : m + 1] += reflection[:, None] * filters[:, m - 1 :: -1].copy()
            error *= 1 - reflection**2
        missing = (right[:, m] - row_dot(past, solution[:, :m])) / error
        solution[:, : m + 1] += missing[:, None] * filters[:, m::-1]


def _solve_near_end(
    lags: Float[np.ndarray, " g"],
    right: Float[np.ndarray, " g"],
    coefficients: Float[np.ndarray, " p"],
    num_after: int,
) -> Float[np.ndarray, " g"]:
    """Solve where fewer samples than the order follow the gap: errors past the end do not count."""
    from scipy import linalg

    gap, order = len(lags), len(coefficients) - 1
    width = min(gap, order - num_after)
    # Row i is the error num_after + i samples past the gap; column j its weight on the sample
    # width - j before the end of the gap.
    rows = np.arange(order - num_after)[:, None] + num_after
    delays = rows + np.arange(width, 0, -1)[None]
    uncounted = np.where(delays <= order, coefficients[np.minimum(delays, order)], 0.0)
    if gap <= order:
        matrix = linalg.toeplitz(lags)
        matrix[gap - width :, gap - width :] -= uncounted.T @ uncounted
        return linalg.solve(matrix, right, assume_a="pos")
    bands = np.zeros((order + 1, gap))
    bands[:] = lags[: order + 1, None]  # bands[d, j] is the entry d below the diagonal
    correction = uncounted.T @ uncounted
    for d in range(width):
        bands[d, gap - width : gap - d] -= np.diagonal(correction, -d)
    return linalg.solveh_banded(bands, right, lower=True)
