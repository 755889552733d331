"""Recordings as latents: encoded once by a trained VAE, then cut into windows with gaps.

Stereo recordings give two streams, their mean and half their difference, since a filler takes
channels apart in the same way. Gaps with drafts begin where a frame does, as a filler's frames are
laid.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float16

from weft.audio.levels import level_db
from weft.codecs.base import LatentCodec
from weft.data.augment import change_speed, semitones_to_ratio
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.samples import CachedEntry, SampleCache
from weft.errors import ConfigError
from weft.rng import Rng
from weft.train.recipes.latent_drafts import DraftedGap

_VERSION = 1  # of the way latents are made: another number, another key
STREAMS = ("mid", "side")
"""Mean, and half the difference, of two channels."""
_LEAST_SIDE_DB = -40.0


@final
@dataclass(frozen=True, kw_only=True)
class LatentDataConfig:
    """How recordings become latents."""

    num_versions: int = 2
    """Versions of each recording in train, in [1, 16]; the first is the recording as it is."""
    speed_semitones: float = 2.0
    """Largest change of pitch and speed of the others, up or down, in [0, 12]."""
    level_range_db: tuple[float, float] = (-34.0, -12.0)
    """Levels that streams are brought to if they are beyond them, in dB of full scale, in order."""
    guard: int = 2
    """Frames on each side of those that a gap touches that count as unknown too, in [0, 8]."""
    piece_s: float = 20.0
    """Length of the pieces that are encoded one by one, in [1, 600] s."""

    def __post_init__(self) -> None:
        low, high = self.level_range_db
        if not 1 <= self.num_versions <= 16 or not 0 <= self.speed_semitones <= 12:
            raise ConfigError(
                "num_versions must be in [1, 16] and speed_semitones in [0, 12], got "
                f"{self.num_versions} and {self.speed_semitones}"
            )
        if not -80 <= low <= high <= 0 or not 0 <= self.guard <= 8:
            raise ConfigError(
                "level_range_db must be two levels in [-80, 0] dB in order and guard in [0, 8], "
                f"got {self.level_range_db} and {self.guard}"
            )
        if not 1 <= self.piece_s <= 600:
            raise ConfigError(f"piece_s must be in [1, 600] s, got {self.piece_s}")


@final
@dataclass(frozen=True, kw_only=True)
class LatentGap:
    """A gap of a recording, in frames, and the drafts of one stream for it."""

    first: int
    """First frame that is unknown: guards count."""
    stop: int
    """One past the last."""
    drafts: tuple[Float16[np.ndarray, "g d"], ...]
    """Latents of these frames with a draft in the gap, the best first; perhaps none."""
    confidences: tuple[float, ...]
    """How sure the search was of each."""
    place: DraftedGap
    """The same in samples."""


@final
@dataclass(frozen=True, kw_only=True)
class LatentStream:
    """One signal of one version of a recording."""

    entry: CachedEntry
    """The recording."""
    name: str
    """Of `STREAMS`."""
    version: int
    """0: the recording as it is."""
    gain: float
    """What its samples were multiplied by before they were encoded."""
    latents: Float16[np.ndarray, "l d"]
    """Of the whole recording."""
    gaps: tuple[LatentGap, ...]
    """Gaps with drafts; of other versions, none."""


def encode_recordings(
    cache: SampleCache,
    drafts: Sequence[Sequence[DraftedGap]],
    features: FeatureCache,
    codec: LatentCodec,
    codec_digest: Digest,
    config: LatentDataConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode what is not in the cache of features yet.

    Args:
        cache: recordings in stereo, at the codec's rate.
        drafts: of each recording.
        features: gets the latents.
        codec: mono, in eval mode.
        codec_digest: of its weights and settings.
        config: which versions, at which level.
        on_progress: called with the recordings done and their number.

    Raises:
        ConfigError: samples of another rate, or a codec of several channels.
        OutputError: latents cannot be kept.
    """
    if codec.num_channels != 1 or cache.config.sample_rate != codec.sample_rate:
        raise ConfigError(
            f"the codec takes {codec.num_channels} channels at {codec.sample_rate} Hz, but the "
            f"recordings have {cache.config.sample_rate} Hz, and go through it one by one"
        )
    for index in range(len(cache)):
        for version in range(config.num_versions):
            gaps = drafts[index] if version == 0 else ()
            source, maker = _keys(cache, index, version, gaps, codec_digest, config)
            features.get_or_make(
                source,
                maker,
                lambda i=index, v=version, g=gaps: _encode_one(cache, i, v, g, codec, config),  # type: ignore[misc]
            )
        if on_progress is not None:
            on_progress(index + 1, len(cache))


def open_latents(
    cache: SampleCache,
    drafts: Sequence[Sequence[DraftedGap]],
    features: FeatureCache,
    codec_digest: Digest,
    config: LatentDataConfig,
    *,
    hop_length: int,
) -> list[LatentStream]:
    """Return the streams of all versions of all recordings.

    Raises:
        ConfigError: some are not in the cache of features.
    """
    found = []
    for index, entry in enumerate(cache.entries):
        for version in range(config.num_versions):
            gaps = drafts[index] if version == 0 else ()
            arrays = features.get(*_keys(cache, index, version, gaps, codec_digest, config))
            if arrays is None:
                raise ConfigError(
                    f"the latents of {entry.entry.path} are not in the cache {features.folder}; "
                    "prepare it again"
                )
            for name in STREAMS:
                if name in arrays:
                    found.append(
                        LatentStream(
                            entry=entry,
                            name=name,
                            version=version,
                            gain=float(arrays[f"{name}_gain"][0]),
                            latents=arrays[name],
                            gaps=tuple(_gaps_of(arrays, name, gaps, hop_length, config)),
                        )
                    )
    return found


def hole_of(gap: DraftedGap, hop_length: int, guard: int) -> tuple[int, int]:
    """Return the first unknown frame of a gap and one past the last.

    Example:
        >>> hole_of(DraftedGap(start=1024, num_samples=600, drafts=(), confidences=()), 512, 2)
        (0, 6)
    """
    return gap.start // hop_length - guard, -(-gap.stop // hop_length) + guard


def _keys(
    cache: SampleCache,
    index: int,
    version: int,
    gaps: Sequence[DraftedGap],
    codec_digest: Digest,
    config: LatentDataConfig,
) -> tuple[Digest, Digest]:
    source = settings_digest(
        {
            "file": cache.entries[index].digest,
            "version": version,
            "speed": config.speed_semitones if version else 0.0,
            "gaps": [(g.start, g.num_samples, list(g.confidences)) for g in gaps],
        }
    )
    maker = settings_digest(
        {
            "latents": _VERSION,
            "codec": codec_digest,
            "level": list(config.level_range_db),
            "guard": config.guard,
            "piece_s": config.piece_s,
        }
    )
    return source, maker


def _encode_one(
    cache: SampleCache,
    index: int,
    version: int,
    gaps: Sequence[DraftedGap],
    codec: LatentCodec,
    config: LatentDataConfig,
) -> dict[str, np.ndarray]:
    """Encode one version of a recording, and its drafts."""
    sound = cache.read(index)
    if version:
        stream = Rng(int(cache.entries[index].digest[:8], 16)).stream(version)
        semitones = stream.uniform(-config.speed_semitones, config.speed_semitones)
        sound = change_speed(sound, semitones_to_ratio(float(semitones)))
    arrays: dict[str, np.ndarray] = {}
    loudest = level_db(mix(sound, "mid")[None])
    for name in STREAMS:
        signal = mix(sound, name)
        level = level_db(signal[None])
        if name == "side" and level < loudest + _LEAST_SIDE_DB:
            continue
        low, high = config.level_range_db
        gain = 10 ** ((min(max(level, low), high) - level) / 20) if level > -90 else 1.0
        arrays[name] = encode_long(codec, gain * signal, config.piece_s)
        arrays[f"{name}_gain"] = np.array([gain])
        if gaps:
            arrays[f"{name}_drafts"] = _encode_drafts(codec, sound, gaps, name, gain, config)
    return arrays


def mix(sound: Float[np.ndarray, "c n"], name: str) -> Float[np.ndarray, " n"]:
    """Return a stream of a stereo sound."""
    return (sound[0] + sound[1]) / 2 if name == "mid" else (sound[0] - sound[1]) / 2


@torch.inference_mode()
def encode_long(
    codec: LatentCodec, signal: Float[np.ndarray, " n"], piece_s: float
) -> Float16[np.ndarray, "l d"]:
    """Encode a signal in pieces that overlap by what the codec hears."""
    hop, reach = codec.hop_length, codec.reach_frames
    step = max(1, round(piece_s * codec.sample_rate / hop))
    num_frames = -(-len(signal) // hop)
    device = next((p.device for p in codec.parameters()), torch.device("cpu"))
    found = []
    for first in range(0, num_frames, step):
        start = max(0, first - reach)
        piece = signal[start * hop : (first + step + reach) * hop]
        tensor = torch.from_numpy(np.ascontiguousarray(piece, dtype=np.float32))
        latents = codec.encode(tensor[None, None].to(device))[0]
        last = min(step, num_frames - first)
        found.append(latents[first - start : first - start + last].cpu().numpy())
    return np.concatenate(found).astype(np.float16)


def _encode_drafts(
    codec: LatentCodec,
    sound: Float[np.ndarray, "c n"],
    gaps: Sequence[DraftedGap],
    name: str,
    gain: float,
    config: LatentDataConfig,
) -> Float16[np.ndarray, "t d"]:
    """Return latents of the unknown frames of each draft of each gap, one after the other."""
    hop, reach = codec.hop_length, codec.reach_frames
    found = [np.zeros((0, codec.num_features), np.float16)]
    for gap in gaps:
        first, stop = hole_of(gap, hop, config.guard)
        begin = max(0, first - reach)
        for draft in gap.drafts:
            piece = sound[:, begin * hop : (stop + reach) * hop].copy()
            piece[:, gap.start - begin * hop : gap.stop - begin * hop] = draft
            latents = encode_long(codec, gain * mix(piece, name), config.piece_s)
            found.append(latents[first - begin : stop - begin])
    return np.concatenate(found)


def _gaps_of(
    arrays: dict[str, np.ndarray],
    name: str,
    gaps: Sequence[DraftedGap],
    hop_length: int,
    config: LatentDataConfig,
) -> Iterator[LatentGap]:
    position = 0
    for gap in gaps:
        first, stop = hole_of(gap, hop_length, config.guard)
        drafts = []
        for _ in gap.drafts:
            drafts.append(arrays[f"{name}_drafts"][position : position + stop - first])
            position += stop - first
        yield LatentGap(
            first=first, stop=stop, drafts=tuple(drafts), confidences=gap.confidences, place=gap
        )
