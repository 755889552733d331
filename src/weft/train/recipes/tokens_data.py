"""Recordings as tokens: encoded once by a trained codec, in a few versions, then cut into crops."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from weft.codecs.base import TokenCodec
from weft.data.augment import semitones_to_ratio
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.crops import CropConfig, CropSource
from weft.data.samples import CachedEntry, SampleCache
from weft.errors import ConfigError
from weft.rng import Rng

_VERSION = 1  # of the way tokens are made: another number, another key
_READ_SAMPLES = 1 << 18
_NUM_CODES = 1 << 16  # codes are stored in 16 bits


@final
@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """In how many versions recordings are encoded, and how."""

    num_versions: int = 4
    """Versions of each recording in train, in [1, 64]; the first is the recording as it is."""
    gain_db: tuple[float, float] = (-12.0, 6.0)
    """Lowest and highest gain of the others, in dB; a peak never rises above 1."""
    speed_semitones: float = 2.0
    """Largest change of pitch and speed of the others, up or down, in [0, 12]."""
    piece_s: float = 20.0
    """Length of the pieces that are encoded one by one, in seconds, in [0.5, 600]."""
    overlap_s: float = 2.0
    """What the codec hears of both neighbours beside a piece, in seconds, in [0, 60]."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.num_versions <= 64:
            raise ConfigError(f"num_versions must be in [1, 64], got {self.num_versions}")
        low, high = self.gain_db
        if not -60 <= low <= high <= 60:
            raise ConfigError(
                f"gain_db must be two levels in order, from -60 to 60 dB, got {low} and {high}"
            )
        if not 0 <= self.speed_semitones <= 12:
            raise ConfigError(f"speed_semitones must be in [0, 12], got {self.speed_semitones}")
        if not (0.5 <= self.piece_s <= 600 and 0 <= self.overlap_s <= 60):
            raise ConfigError(
                "piece_s must be in [0.5, 600] s and overlap_s in [0, 60] s, got "
                f"{self.piece_s} and {self.overlap_s}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Change:
    """What sets one version of a recording apart."""

    gain: float
    """Factor of the samples, > 0."""
    ratio: float
    """Speed as a multiple of the recording's own."""


@final
@dataclass(frozen=True, kw_only=True)
class TokenRecording:
    """One recording as tokens."""

    corpus: str
    """Its corpus."""
    versions: tuple[Int64[np.ndarray, " _"], ...]
    """Tokens of each version, of different lengths."""
    changes: tuple[Change, ...]
    """What each version is."""


@final
@dataclass(frozen=True, kw_only=True)
class TokenCrop:
    """A piece of a recording, as tokens."""

    tokens: Int64[np.ndarray, " l"]
    """0 where the recording has ended."""
    valid: Bool[np.ndarray, " l"]
    """True where there is a recording."""
    recording: int
    """Its position in the cache."""
    start: int
    """First token in the recording."""


def change_of(entry: CachedEntry, version: int, config: EncodeConfig) -> Change:
    """Return what a version does to a recording: a function of its bytes and the version's number.

    Args:
        entry: the recording.
        version: 0 leaves it as it is.
        config: how far versions may go.
    """
    if version == 0:
        return Change(gain=1.0, ratio=1.0)
    stream = Rng(int(entry.digest[:8], 16)).stream(version)
    semitones, gain_db = stream.uniform(
        (-config.speed_semitones, config.gain_db[0]), (config.speed_semitones, config.gain_db[1])
    )
    gain = min(10 ** (gain_db / 20), 1 / entry.scale)
    return Change(gain=gain, ratio=semitones_to_ratio(float(semitones)))


def encode_corpora(
    cache: SampleCache,
    features: FeatureCache,
    codec: TokenCodec,
    codec_digest: Digest,
    config: EncodeConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode what is not in the cache of features yet.

    Memory does not grow with a recording's length beyond its tokens.

    Args:
        cache: the samples, mono, at the codec's rate.
        features: gets the tokens.
        codec: in eval mode, on the device that encodes.
        codec_digest: of its weights and settings.
        config: which versions, in pieces of which length.
        on_progress: called with the recordings done and their number.

    Raises:
        ConfigError: samples of another rate or of two channels, or more codes than 16 bits tell
            apart.
        OutputError: tokens cannot be kept.
    """
    _check(cache, codec)
    maker = _maker(codec_digest, config)
    for index, entry in enumerate(cache.entries):
        for version in range(config.num_versions):
            change = change_of(entry, version, config)
            source = _source(entry, version, config)
            if features.get(source, maker) is not None:
                continue
            codes = encode_pieces(
                codec,
                changed_blocks(cache, index, change),
                num_piece=round(config.piece_s * codec.sample_rate / codec.hop_length),
                num_overlap=round(config.overlap_s * codec.sample_rate / codec.hop_length),
            )
            features.put(source, maker, {"codes": codes.astype(np.uint16)})
        if on_progress is not None:
            on_progress(index + 1, len(cache.entries))


def open_tokens(
    cache: SampleCache, features: FeatureCache, codec_digest: Digest, config: EncodeConfig
) -> list[TokenRecording]:
    """Return the tokens of all recordings, in the order of the cache of samples.

    Raises:
        ConfigError: some are not there.
    """
    maker = _maker(codec_digest, config)
    found = []
    for entry in cache.entries:
        versions = []
        for version in range(config.num_versions):
            arrays = features.get(_source(entry, version, config), maker)
            if arrays is None or "codes" not in arrays:
                raise ConfigError(
                    f"the tokens of {entry.entry.path} are not in the cache {features.folder}; "
                    "prepare it again"
                )
            versions.append(arrays["codes"].astype(np.int64))
        changes = tuple(change_of(entry, v, config) for v in range(config.num_versions))
        found.append(TokenRecording(corpus=entry.corpus, versions=tuple(versions), changes=changes))
    return found


def changed_blocks(
    cache: SampleCache, index: int, change: Change
) -> Iterator[Float32[np.ndarray, " _"]]:
    """Yield the samples of a version of a recording, block by block.

    Args:
        cache: mono.
        index: of the recording.
        change: what the version does to it.
    """
    import soxr

    num_samples = cache.entries[index].num_samples
    stream = None
    if change.ratio != 1:
        stream = soxr.ResampleStream(change.ratio, 1.0, 1, "float32", "HQ")
    for start in range(0, num_samples, _READ_SAMPLES):
        stop = min(start + _READ_SAMPLES, num_samples)
        block = cache.read(index, start, stop)[0] * np.float32(change.gain)
        if stream is not None:
            block = np.asarray(stream.resample_chunk(block, last=stop == num_samples))
        yield block


def encode_pieces(
    codec: TokenCodec,
    blocks: Iterable[Float32[np.ndarray, " _"]],
    *,
    num_piece: int,
    num_overlap: int,
) -> Int64[np.ndarray, " l"]:
    """Return the tokens of a recording that is encoded piece by piece.

    Each piece is encoded together with what stands on both sides of it, whose tokens are thrown
    away: with an overlap as long as the codec hears, the borders of pieces do not show.

    Args:
        codec: in eval mode.
        blocks: the samples, in blocks of any length, at least one sample in all.
        num_piece: frames of a piece, >= 1.
        num_overlap: frames on either side, >= 0.

    Returns:
        Tokens in [0, codebook_size), ``ceil(n / hop_length)`` of them.
    """
    hop = codec.hop_length
    found = []
    waiting = np.zeros(0, np.float32)
    lead = 0  # frames at the beginning of ``waiting`` that have their tokens already
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) > (lead + num_piece + num_overlap) * hop:
            window = waiting[: (lead + num_piece + num_overlap) * hop]
            found.append(_encode(codec, window)[lead : lead + num_piece])
            next_lead = min(num_overlap, lead + num_piece)
            waiting = waiting[(lead + num_piece - next_lead) * hop :]
            lead = next_lead
    found.append(_encode(codec, waiting)[lead:])
    return np.concatenate(found)


@final
class TokenCrops:
    """Crops of tokens, where `weft.data.crops.CropSource` draws them from the samples.

    So corpora get their shares, recordings are covered evenly, and what is nearly silent is drawn
    again. A crop never goes on from one recording into another.
    """

    def __init__(
        self,
        cache: SampleCache,
        recordings: Sequence[TokenRecording],
        *,
        hop_length: int,
        num_frames: int,
        weights: Mapping[str, float],
    ) -> None:
        """Lay out the crops of an epoch.

        Args:
            cache: the samples.
            recordings: their tokens, in the same order.
            hop_length: samples of a token.
            num_frames: length of a crop.
            weights: share of each corpus.
        """
        config = CropConfig(num_samples=num_frames * hop_length, short="pad", weights=weights)
        self._source = CropSource(cache, config)
        self.recordings = tuple(recordings)
        self.hop_length = hop_length
        self.num_frames = num_frames

    def __len__(self) -> int:
        return len(self._source)

    def draw(self, index: int, rng: Rng) -> TokenCrop:
        """Draw crop ``index`` of an epoch.

        Args:
            index: in [0, len).
            rng: of this crop in this epoch; equal ones give equal crops.

        Raises:
            ConfigError: the index is out of range.
        """
        place = self._source.draw(index, rng.child(0))
        recording = self.recordings[place.recording]
        version = int(rng.child(1).stream().integers(len(recording.versions)))
        codes = recording.versions[version]
        start = round(place.start / self.hop_length / recording.changes[version].ratio)
        start = max(0, min(start, len(codes) - self.num_frames))
        piece = codes[start : start + self.num_frames]
        tokens = np.zeros(self.num_frames, np.int64)
        tokens[: len(piece)] = piece
        valid = np.arange(self.num_frames) < len(piece)
        return TokenCrop(tokens=tokens, valid=valid, recording=place.recording, start=start)

    def fixed(self, count: int) -> list[TokenCrop]:
        """Return whole crops that are always the same, all different, spread evenly over an epoch.

        Args:
            count: at most so many, >= 1.

        Returns:
            Crops without padding: recordings that are shorter than a crop are left out.
        """
        count = min(count, len(self))
        indices = [(2 * i + 1) * len(self) // (2 * count) for i in range(count)]
        found: dict[tuple[int, int], TokenCrop] = {}
        for index in indices:
            crop = self.draw(index, Rng(0).child(index))
            if crop.valid.all():
                found.setdefault((crop.recording, crop.start), crop)
        return [*found.values()]


def _check(cache: SampleCache, codec: TokenCodec) -> None:
    if cache.config.sample_rate != codec.sample_rate or cache.config.num_channels != 1:
        raise ConfigError(
            f"the codec takes mono at {codec.sample_rate} Hz, the cache has "
            f"{cache.config.num_channels} channels at {cache.config.sample_rate} Hz"
        )
    if codec.codebook_size > _NUM_CODES:
        raise ConfigError(
            f"the codec's codebook_size must be at most {_NUM_CODES}, got {codec.codebook_size}"
        )


def _maker(codec_digest: Digest, config: EncodeConfig) -> Digest:
    return settings_digest(
        {
            "tokens": _VERSION,
            "codec": codec_digest,
            "piece_s": config.piece_s,
            "overlap_s": config.overlap_s,
        }
    )


def _source(entry: CachedEntry, version: int, config: EncodeConfig) -> Digest:
    change = change_of(entry, version, config)
    return settings_digest({"file": entry.digest, **asdict(change)})


@torch.inference_mode()
def _encode(codec: TokenCodec, samples: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " l"]:
    device = next((p.device for p in codec.parameters()), torch.device("cpu"))
    frames = codec.encode(torch.from_numpy(np.ascontiguousarray(samples))[None].to(device))
    return frames.codes[0].cpu().numpy().astype(np.int64)
