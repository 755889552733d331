"""How well a network knows the tokens of a gap: likelihoods, and the sound of what it draws."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weft.canvas.canvas import Region
from weft.codecs.base import TokenCodec
from weft.errors import ShapeError
from weft.metrics.mel import MelDistanceConfig, mel_distance
from weft.rng import Rng
from weft.sampling.steps_masked import PredictFn

LOG_MEL = MelDistanceConfig(
    name="log-mel", num_mels=(80,), n_ffts=(1024,), log_power=20.0, magnitude_weight=0.0
)
"""Mean difference of log-mel spectra, in dB; silence is -100 dB of magnitude 1."""

_BATCH = 16


@final
@dataclass(frozen=True, kw_only=True)
class GapScores:
    """Scores of one gap in the middle of each of some sequences."""

    start: int
    """First token of the gap."""
    stop: int
    """One past the last."""
    nll: Float[np.ndarray, "b m"]
    """Minus the log probability of each true token with the whole gap hidden, in nats."""
    any_order_nll: Float[np.ndarray, "b m"]
    """The same where the true tokens are revealed one by one, in a random order that is always the
    same; its sum is minus the log likelihood of the gap."""
    is_hit: Float[np.ndarray, "b m"]
    """1 where the most probable token, with the whole gap hidden, is the true one."""


def num_gap_tokens(gap_ms: float, codec: TokenCodec) -> int:
    """Return the tokens of a gap that begins with a token."""
    return max(1, -(-round(gap_ms * codec.sample_rate) // (1000 * codec.hop_length)))


def score_gaps(
    predict_fn: PredictFn, tokens: Int64[Tensor, "b l"], num_gap: int, codebook_size: int
) -> GapScores:
    """Score a gap in the middle of each sequence.

    The network is told the noise at which as large a share is masked as is in fact.

    Args:
        predict_fn: the network.
        tokens: true sequences, on the network's device.
        num_gap: tokens of the gap; there is at least one on each side.
        codebook_size: the absorbing state.

    Raises:
        ShapeError: the gap does not fit.
    """
    num_frames = tokens.shape[1]
    if not 1 <= num_gap <= num_frames - 2:
        raise ShapeError(f"a gap of {num_gap} tokens does not fit into {num_frames}")
    start = (num_frames - num_gap) // 2
    parts = [
        _score(predict_fn, part, start, num_gap, codebook_size, first=i * _BATCH)
        for i, part in enumerate(tokens.split(_BATCH))
    ]
    nll, any_order, hits = (
        torch.cat([part[i] for part in parts]).double().cpu().numpy() for i in range(3)
    )
    return GapScores(
        start=start, stop=start + num_gap, nll=nll, any_order_nll=any_order, is_hit=hits
    )


def _score(
    predict_fn: PredictFn,
    tokens: Int64[Tensor, "b l"],
    start: int,
    num_gap: int,
    absorbing: int,
    *,
    first: int,
) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    """Return both kinds of minus log probabilities, and hits."""
    num_items = len(tokens)
    rows = torch.arange(start, start + num_gap, device=tokens.device).expand(num_items, -1)
    true = tokens.gather(1, rows)
    state = tokens.scatter(1, rows, absorbing)
    log_probs = predict_fn(state, _noise(state, absorbing), rows)
    nll = -log_probs.gather(2, true[:, :, None])[:, :, 0]
    is_hit = (log_probs.argmax(dim=2) == true).to(nll.dtype)
    orders = [Rng(0).stream(first + i).permutation(num_gap) for i in range(num_items)]
    order = torch.from_numpy(np.stack(orders)).to(tokens.device)
    any_order = torch.zeros_like(nll)
    for step in range(num_gap):
        place = order[:, step : step + 1]
        row, symbol = rows.gather(1, place), true.gather(1, place)
        log_prob = predict_fn(state, _noise(state, absorbing), row)[:, 0].gather(1, symbol)
        any_order.scatter_(1, place, -log_prob)
        state = state.scatter(1, row, symbol)
    return nll, any_order, is_hit


def fill_distances(
    codec: TokenCodec,
    tokens: Int64[Tensor, "b l"],
    filled: Int64[Tensor, "b l"],
    start: int,
    stop: int,
) -> list[float]:
    """Return how far the sound of filled gaps is from the codec's own round trip, in dB of log-mel.

    Args:
        codec: decodes both.
        tokens: true sequences.
        filled: the same but for the gap.
        start: first token of the gap.
        stop: one past the last.
    """
    hop = codec.hop_length
    gap = [Region(start=start * hop, stop=stop * hop)]
    found = []
    for true, other in zip(tokens, filled, strict=True):
        sounds = codec.decode(codec.embed(torch.stack([true, other]))).double().cpu().numpy()
        found.append(mel_distance(sounds[:1], sounds[1:], codec.sample_rate, gap, config=LOG_MEL))
    return found


def _noise(state: Int64[Tensor, "b l"], absorbing: int) -> Float[Tensor, " b"]:
    share = (state == absorbing).float().mean(dim=1)
    return -torch.log1p(-share.clamp_max(0.999))
