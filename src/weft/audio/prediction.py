"""Linear prediction: autoregressive models of sound, and what they say comes next.

Everything is vectorised over a leading batch axis, so that thousands of clicks cost one call, and
every row comes out the same, bit for bit, whatever stands beside it. A model is its
prediction-error filter ``a`` with ``a[0] = 1``: ``e[n] = sum_i a[i] x[n - i]``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import fft

from weft.errors import ConfigError, ShapeError

NOISE_LEVEL = 1e-4
"""White noise that a fit assumes under the signal, relative to its rms: -80 dB."""

BLOCK_SAMPLES = 1 << 15
"""Samples that rows computed together hold: what fits in a cache."""
_MIN_POWER = 1e-280


def burg(
    signals: Float[np.ndarray, "b n"], order: int, *, noise_level: float = NOISE_LEVEL
) -> Float[np.ndarray, "b p"]:
    """Fit autoregressive models by Burg's method; the filters are stable.

    Above the cut-off of band-limited material (a decoded MP3, an upsampled file) the spectrum is
    empty, the error filter would become enormous there, and all that is computed with it would be
    about the empty band. The fit therefore assumes white noise under the signal. It is not drawn:
    its expected contribution is added to both sums of each recursion step, so results are
    deterministic.

    Args:
        signals: one signal a row. The mean is not removed. A silent row gives ``[1, 0, …]``.
        order: of the models, in [0, n - 1].
        noise_level: rms of the assumed noise relative to that of the row, >= 0.

    Returns:
        Error filters, ``order + 1`` coefficients a row, the first 1.

    Raises:
        ConfigError: the order or the noise level is outside its range.

    Source: Burg 1975, lattice recursion. Differs: expected white noise in both sums.

    Example:
        >>> tone = np.cos(0.3 * np.arange(400.0))[None]
        >>> bool(np.allclose(burg(tone, 2), [[1, -2 * np.cos(0.3), 1]], atol=1e-3))
        True
    """
    return burg_segments([signals], order, noise_level=noise_level)


def burg_segments(
    segments: Sequence[Float[np.ndarray, "b _"]], order: int, *, noise_level: float = NOISE_LEVEL
) -> Float[np.ndarray, "b p"]:
    """Fit one model a row to several stretches of the same sound, as to both sides of a gap.

    Args:
        segments: at least one, with equal numbers of rows; lengths may differ. One that is not
            longer than the order tells what it can.
        order: of the models, in [0, n - 1] for the longest segment.
        noise_level: see `burg`.

    Returns:
        Error filters, ``order + 1`` coefficients a row, the first 1.

    Raises:
        ShapeError: no segments, or other numbers of rows.
        ConfigError: the order or the noise level is outside its range.

    Source: de Waele & Broersen 2000, The Burg algorithm for segments. Differs: as `burg` does.

    Example:
        >>> tone = np.cos(0.3 * np.arange(400.0))[None]
        >>> filters = burg_segments([tone[:, :190], tone[:, 220:]], 2)
        >>> bool(np.allclose(filters, [[1, -2 * np.cos(0.3), 1]], atol=1e-3))
        True
    """
    if not segments or len({len(segment) for segment in segments}) > 1:
        raise ShapeError(
            f"segments must have equal numbers of rows, got {[len(s) for s in segments]}"
        )
    _check_order(max(segment.shape[1] for segment in segments), order, noise_level)
    num_rows, num_samples = len(segments[0]), sum(segment.shape[1] for segment in segments)
    filters = np.zeros((num_rows, order + 1))
    filters[:, 0] = 1
    rows = max(1, BLOCK_SAMPLES // max(1, num_samples))
    for first in range(0, num_rows, rows):
        block = slice(first, first + rows)
        _burg_block([segment[block] for segment in segments], filters[block], noise_level)
    return filters


def _burg_block(
    segments: Sequence[Float[np.ndarray, "b _"]],
    filters: Float[np.ndarray, "b p"],
    noise_level: float,
) -> None:
    """Run Burg's recursion on a few rows, writing into ``filters``."""
    noise = sum(row_dot(segment, segment) for segment in segments)
    noise *= noise_level**2 / max(1, sum(segment.shape[1] for segment in segments))
    # The errors of each segment: forward, backward (one sample earlier), and space for the next.
    errors = [[x[:, 1:].copy(), x[:, :-1].copy(), np.empty_like(x[:, 1:])] for x in segments]
    for m in range(filters.shape[1] - 1):
        count = sum(forward.shape[1] for forward, _, _ in errors)
        past = filters[:, : m + 1]
        cross = noise * count * row_dot(past[:, 1:], past[:, :0:-1])
        power = 2 * noise * count * row_dot(past, past)
        for forward, backward, _ in errors:
            cross += row_dot(forward, backward)
            power += row_dot(forward, forward)
            power += row_dot(backward, backward)
        heard = power > _MIN_POWER
        reflection = np.where(heard, -2 * cross / np.where(heard, power, 1), 0.0)[:, None]
        filters[:, 1 : m + 2] += reflection * filters[:, m::-1].copy()
        for i, (forward, backward, space) in enumerate(errors):
            step = space[:, : forward.shape[1]]
            np.multiply(reflection, backward, out=step)
            step += forward
            forward *= reflection
            backward += forward
            errors[i] = [step[:, 1:], backward[:, :-1], forward]


def autocorrelation_lpc(
    signals: Float[np.ndarray, "b n"], order: int, *, noise_level: float = NOISE_LEVEL
) -> Float[np.ndarray, "b p"]:
    """Fit autoregressive models by the autocorrelation method (Yule-Walker, no window).

    Faster than `burg`, and far worse on stationary tones: what lies outside the row counts as
    zero. The filters are stable.

    Args:
        signals: one signal a row. The mean is not removed. A silent row gives ``[1, 0, …]``.
        order: of the models, in [0, n - 1].
        noise_level: rms of the white noise assumed under the signal relative to the row's rms.

    Returns:
        Error filters, ``order + 1`` coefficients a row, the first 1.

    Raises:
        ConfigError: the order or the noise level is outside its range.

    Source: Levinson-Durbin recursion. Differs: the power is raised by ``noise_level ** 2``.

    Example:
        >>> autocorrelation_lpc(np.zeros((1, 8)), 2).tolist()
        [[1.0, 0.0, 0.0]]
    """
    _check_order(signals.shape[1], order, noise_level)
    size = fft.next_fast_len(signals.shape[1] + order + 1, real=True)
    spectrum = fft.rfft(signals, size, axis=1)
    lags = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=1)[:, : order + 1]
    lags[:, 0] *= 1 + noise_level**2
    filters = np.zeros((signals.shape[0], order + 1))
    filters[:, 0] = 1
    error = lags[:, 0].copy()
    heard = error > _MIN_POWER
    error[~heard] = 1
    for m in range(order):
        cross = row_dot(filters[:, : m + 1], lags[:, m + 1 : 0 : -1])
        reflection = np.where(heard, -cross / error, 0.0)
        filters[:, 1 : m + 2] += reflection[:, None] * filters[:, m::-1].copy()
        error *= np.maximum(1 - reflection**2, 1e-15)
    return filters


def extrapolate(
    context: Float[np.ndarray, "b n"],
    coefficients: Float[np.ndarray, "b p"],
    num_samples: int,
) -> Float[np.ndarray, "b m"]:
    """Continue signals by their most probable future under their models.

    Reverse the rows of ``context``, and of what is returned, to go backwards in time.

    Args:
        context: what was heard, the most recent sample last; fewer samples than the order count
            as preceded by zeros.
        coefficients: error filters with a leading 1.
        num_samples: to predict, >= 0.

    Raises:
        ShapeError: other numbers of rows.
        ConfigError: ``num_samples`` is negative.

    Example:
        >>> ramp = np.arange(4.0)[None]
        >>> extrapolate(ramp, np.array([[1.0, -2.0, 1.0]]), 3).tolist()
        [[4.0, 5.0, 6.0]]
    """
    if len(context) != len(coefficients):
        raise ShapeError(f"{len(context)} signals, but {len(coefficients)} models")
    if num_samples < 0:
        raise ConfigError(f"num_samples must be >= 0, got {num_samples}")
    order = coefficients.shape[1] - 1
    signal = np.zeros((len(context), order + num_samples))
    recent = context[:, max(0, context.shape[1] - order) :]
    signal[:, order - recent.shape[1] : order] = recent
    weights = np.ascontiguousarray(-coefficients[:, :0:-1])
    for n in range(num_samples):
        signal[:, order + n] = row_dot(signal[:, n : n + order], weights)
    return signal[:, order:]


def lost_power(
    signals: Float[np.ndarray, "b n"],
    coefficients: Float[np.ndarray, "b p"],
    num_samples: int,
) -> Float[np.ndarray, "b m"]:
    """Return what share of a signal's power its model cannot predict 1, 2, … samples ahead.

    It rises from the share of the prediction error to 1: at once for noise, slowly for tones.

    Args:
        signals: what the models were fitted to, longer than their order.
        coefficients: error filters with a leading 1.
        num_samples: farthest prediction.

    Returns:
        Variance of the prediction over the power of the signal, in [0, 1]; 0 for silence.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((1, 5000))
        >>> lost_power(noise, burg(noise, 4), 3).round(1).tolist()
        [[1.0, 1.0, 1.0]]
    """
    order, length = coefficients.shape[1] - 1, signals.shape[1]
    size = fft.next_fast_len(length, real=True)
    error = fft.rfft(signals, size, axis=1) * fft.rfft(coefficients, size, axis=1)
    error = fft.irfft(error, size, axis=1)[:, order:length]
    power = np.maximum(row_dot(signals, signals) / length, _MIN_POWER)
    share = row_dot(error, error) / (length - order) / power
    impulse = np.ones((len(signals), 1))
    response = extrapolate(impulse, coefficients, max(0, num_samples - 1))
    response = np.concatenate((impulse, response), axis=1)[:, :num_samples]
    return np.minimum(share[:, None] * np.cumsum(response**2, axis=1), 1)


def usable_order(num_samples: int, order: int) -> int:
    """Return the order that this much context carries: a third of its samples at the most.

    Example:
        >>> usable_order(90, 512), usable_order(2, 512)
        (30, 0)
    """
    return max(0, min(order, num_samples // 3))


def extrapolate_gap(
    before: Float[np.ndarray, "c a"] | None,
    after: Float[np.ndarray, "c z"] | None,
    num_samples: int,
    *,
    order: int = 256,
    noise_level: float = NOISE_LEVEL,
) -> tuple[Float[np.ndarray, "c g"] | None, Float[np.ndarray, "c g"] | None]:
    """Continue both sides of a gap into it, each channel by its own Burg models.

    Args:
        before: known samples that end where the gap begins; None or empty: there are none.
        after: known samples that begin where the gap ends; None or empty: there are none.
        num_samples: length of the gap.
        order: of the models; lowered to `usable_order` on a side with little context.
        noise_level: see `burg`.

    Returns:
        The forward and the backward prediction, both in the order of time, to be cross-faded. None
        stands for a side that has no samples. Predictions fade towards zero as the models lose
        hold of the sound.

    Example:
        >>> wave = np.sin(0.2 * np.arange(1000.0))[None]
        >>> forward, backward = extrapolate_gap(wave[:, :450], wave[:, 500:], 50, order=32)
        >>> bool(np.allclose(forward, wave[:, 450:500], atol=2e-3))
        True
    """
    forward = backward = None
    if before is not None and before.shape[1]:
        filters = burg(before, usable_order(before.shape[1], order), noise_level=noise_level)
        forward = extrapolate(before, filters, num_samples)
    if after is not None and after.shape[1]:
        mirrored = after[:, ::-1]
        filters = burg(mirrored, usable_order(after.shape[1], order), noise_level=noise_level)
        backward = np.ascontiguousarray(extrapolate(mirrored, filters, num_samples)[:, ::-1])
    return forward, backward


def row_dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the inner products of rows ``b n``, ``b``; each is its row's alone, to the bit.

    Not annotated with shapes: it runs hundreds of thousands of times, and checks would double that.
    """
    return np.einsum("bn,bn->b", left, right)


def _check_order(num_samples: int, order: int, noise_level: float) -> None:
    """Raise where a fit of this order to this many samples makes no sense."""
    if not 0 <= order < max(1, num_samples):
        raise ConfigError(
            f"order must be in [0, {num_samples - 1}] for {num_samples} samples, got {order}; "
            "give more context or lower the order"
        )
    if noise_level < 0:
        raise ConfigError(f"noise_level must be >= 0, got {noise_level}")
