"""What counting tokens predicts of a gap: the baselines that a network has to beat."""

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float, Int64
from scipy import sparse

from weft.errors import ConfigError, ShapeError


@final
class TokenCounts:
    """Unigram and bigram statistics of sequences of tokens, smoothed.

    Unigram: counts plus one half. Bigram: Witten & Bell 1991, with the unigram to fall back on:
    a token that was seen N times before T different ones is followed by y with probability
    ``(count(x, y) + T unigram(y)) / (N + T)``, and by the unigram if it was never seen.
    """

    def __init__(self, sequences: Sequence[Int64[np.ndarray, " _"]], codebook_size: int) -> None:
        """Count.

        Args:
            sequences: tokens in [0, codebook_size); none is taken to follow another.
            codebook_size: number of different tokens, >= 2.

        Raises:
            ConfigError: there is no token, or one outside the codebook.
        """
        if not sum(len(s) for s in sequences):
            raise ConfigError("there are no tokens to count")
        counts = np.zeros(codebook_size)
        for tokens in sequences:
            if len(tokens) and not 0 <= tokens.min() <= tokens.max() < codebook_size:
                raise ConfigError(
                    f"tokens must be in [0, {codebook_size}), got {tokens.min()} to {tokens.max()}"
                )
            counts += np.bincount(tokens, minlength=codebook_size)
        lefts = np.concatenate([tokens[:-1] for tokens in sequences])
        rights = np.concatenate([tokens[1:] for tokens in sequences])
        pairs = sparse.coo_array(
            (np.ones(len(lefts)), (lefts, rights)), shape=(codebook_size, codebook_size)
        ).tocsr()
        pairs.sum_duplicates()
        seen = np.asarray(pairs.sum(axis=1)).ravel()
        kinds = np.diff(pairs.indptr).astype(float)
        self.unigram: Float[np.ndarray, " k"] = (counts + 0.5) / (counts.sum() + codebook_size / 2)
        """Probability of each token."""
        total = np.maximum(seen + kinds, 1)
        self._follow = sparse.csr_array(sparse.diags_array(1 / total) @ pairs)
        self._rest = np.where(seen > 0, kinds / total, 1.0)  # share of the unigram

    @property
    def entropy(self) -> float:
        """Entropy of the unigram, in nats."""
        return float(-(self.unigram * np.log(self.unigram)).sum())

    def follow(
        self, lefts: Int64[np.ndarray, " m"], rights: Int64[np.ndarray, " m"]
    ) -> Float[np.ndarray, " m"]:
        """Return the bigram's probability of each right token after its left one."""
        counted = np.asarray(self._follow[lefts, rights]).ravel()
        return counted + self._rest[lefts] * self.unigram[rights]

    def unigram_nll(self, tokens: Int64[np.ndarray, "b l"]) -> Float[np.ndarray, "b l"]:
        """Return minus the log probability of each token, in nats."""
        nll: np.ndarray = -np.log(self.unigram[tokens])
        return nll

    def gap_nll(
        self, tokens: Int64[np.ndarray, "b l"], start: int, stop: int
    ) -> Float[np.ndarray, " b"]:
        """Return minus the log probability of gaps under the bigram, given both sides, in nats.

        Exact for a Markov chain: the chain from the token on the left through the gap to the one on
        the right, over the probability that it arrives there at all.

        Args:
            tokens: true sequences.
            start: first token of the gap, >= 1.
            stop: one past the last, < l.

        Raises:
            ShapeError: the gap has not a token on each side.
        """
        if not 1 <= start < stop < tokens.shape[1]:
            raise ShapeError(
                f"a gap needs a token on each side, got {start}-{stop} of {tokens.shape[1]}"
            )
        num_steps = stop - start + 1
        joint = np.zeros(len(tokens))
        for i in range(start, stop + 1):
            joint += np.log(self.follow(tokens[:, i - 1], tokens[:, i]))
        state = np.zeros((len(tokens), len(self.unigram)))
        state[np.arange(len(tokens)), tokens[:, start - 1]] = 1
        for _ in range(num_steps):
            state = (self._follow.T @ state.T).T + np.outer(state @ self._rest, self.unigram)
        arrived: np.ndarray = state[np.arange(len(tokens)), tokens[:, stop]]
        return np.log(arrived) - joint
