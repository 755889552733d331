"""Recordings as tokens: pieces, versions, crops, and what counting them predicts."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weft.codecs.base import TokenCodec, TokenFrames
from weft.data.cache import FeatureCache
from weft.data.manifest import read_manifest, write_manifest
from weft.data.samples import CacheConfig, SampleCache, make_sample_cache
from weft.errors import ConfigError, ShapeError
from weft.rng import Rng
from weft.train.recipes.tokens_baselines import TokenCounts
from weft.train.recipes.tokens_data import (
    EncodeConfig,
    TokenCrops,
    change_of,
    changed_blocks,
    encode_corpora,
    encode_pieces,
    open_tokens,
)

RATE, HOP = 8000, 80
DIGEST = "0" * 32


@final
class MeanCodec(TokenCodec):
    """A codec whose token is the level of three frames: it hears one frame to either side."""

    sample_rate = RATE
    hop_length = HOP
    codebook_size = 1000

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(999.0))
        self.calls: list[int] = []

    def encode(self, samples: Float[Tensor, "b n"]) -> TokenFrames:
        num_frames = -(-samples.shape[1] // HOP)
        self.calls.append(num_frames)
        padded = nn.functional.pad(samples.abs(), (HOP, HOP + num_frames * HOP - samples.shape[1]))
        level = padded.unfold(1, 3 * HOP, HOP).mean(dim=2)
        codes = (level.clamp(0, 1) * self.scale).long()
        return TokenFrames(codes=codes, features=level[:, :, None])

    def embed(self, codes: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        return (codes / self.scale)[:, :, None]

    def decode(self, features: Float[Tensor, "b l d"]) -> Float[Tensor, "b n"]:
        return features[:, :, 0].repeat_interleave(HOP, dim=1)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleCache:
    """Three recordings: a rising ramp of 6 s, a falling one of 4 s, and a short one."""
    import soundfile

    folder = tmp_path_factory.mktemp("ramps")
    sounds = {
        "up": np.linspace(0.05, 0.45, 6 * RATE),
        "down": np.linspace(0.95, 0.55, 4 * RATE + 3),
        "short": np.full(RATE // 5, 0.5),
    }
    for name, sound in sounds.items():
        # Alternating signs, so that the mean of the magnitude is the ramp.
        signs = 1 - 2 * (np.arange(len(sound)) // 4 % 2)
        soundfile.write(folder / f"{name}.wav", sound * signs, RATE, subtype="PCM_16")
    rows = [{"file": f"{name}.wav", "split": "train"} for name in sounds]
    write_manifest(folder, rows)
    manifest = read_manifest(folder, name="ramps")
    return make_sample_cache([manifest], folder / "cache", CacheConfig(sample_rate=RATE))


def _blocks(sound: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (sound[i : i + size] for i in range(0, len(sound), size))


@pytest.mark.parametrize("num_samples", [1, HOP, 37 * HOP, 37 * HOP + 5])
@pytest.mark.parametrize(("num_piece", "block"), [(1, 333), (5, 80), (7, 5000), (50, 100)])
def test_borders_of_pieces_do_not_show(num_samples: int, num_piece: int, block: int) -> None:
    codec = MeanCodec().eval()
    sound = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    whole = codec.encode(torch.from_numpy(sound)[None]).codes[0].numpy()
    found = encode_pieces(codec, _blocks(sound, block), num_piece=num_piece, num_overlap=1)
    assert np.array_equal(found, whole)


def test_without_an_overlap_borders_do_show() -> None:
    codec = MeanCodec().eval()
    sound = np.random.default_rng(0).uniform(-1, 1, 40 * HOP).astype(np.float32)
    whole = codec.encode(torch.from_numpy(sound)[None]).codes[0].numpy()
    found = encode_pieces(codec, _blocks(sound, 500), num_piece=5, num_overlap=0)
    assert not np.array_equal(found, whole)


def test_no_piece_is_longer_than_asked_for() -> None:
    codec = MeanCodec().eval()
    sound = np.zeros(100 * HOP, np.float32)
    encode_pieces(codec, _blocks(sound, 333), num_piece=6, num_overlap=2)
    assert max(codec.calls) <= 6 + 2 * 2


def test_the_first_version_is_the_recording_and_others_differ(samples: SampleCache) -> None:
    config = EncodeConfig(num_versions=8)
    entry = samples.entries[0]
    changes = [change_of(entry, version, config) for version in range(8)]
    assert (changes[0].gain, changes[0].ratio) == (1.0, 1.0)
    assert len({change.ratio for change in changes}) == 8
    assert changes == [change_of(entry, version, config) for version in range(8)]
    for change in changes:
        assert 2 ** (-2 / 12) <= change.ratio <= 2 ** (2 / 12)
        assert change.gain * entry.scale <= 1 + 1e-9
        block = np.concatenate(list(changed_blocks(samples, 0, change)))
        assert len(block) == pytest.approx(entry.num_samples / change.ratio, abs=2)
        rms = np.sqrt(np.mean(np.square(samples.read(0)[0])))
        assert np.sqrt(np.mean(block**2)) == pytest.approx(change.gain * rms, rel=0.03)
    assert min(change.gain for change in changes) < 0.8


def test_a_loud_recording_is_not_made_louder_than_full_scale(samples: SampleCache) -> None:
    config = EncodeConfig(gain_db=(6.0, 6.0), speed_semitones=0.0)
    change = change_of(samples.entries[1], 1, config)
    assert change.gain == pytest.approx(1 / 0.95, rel=1e-3)


def test_tokens_are_computed_once_for_a_codec(samples: SampleCache, tmp_path: Path) -> None:
    features, codec, config = FeatureCache(tmp_path), MeanCodec().eval(), EncodeConfig()
    encode_corpora(samples, features, codec, DIGEST, config)
    num_calls = len(codec.calls)
    assert num_calls == len(samples) * config.num_versions
    encode_corpora(samples, features, codec, DIGEST, config)
    assert len(codec.calls) == num_calls
    encode_corpora(samples, features, codec, "1" * 32, replace(config, num_versions=1))
    assert len(codec.calls) == num_calls + len(samples)
    with pytest.raises(ConfigError, match="are not in the cache"):
        open_tokens(samples, features, "2" * 32, config)
    other = SampleCache(CacheConfig(sample_rate=16000), samples.entries)
    with pytest.raises(ConfigError, match="8000 Hz, the cache has"):
        encode_corpora(other, features, codec, DIGEST, config)


@pytest.fixture(scope="module")
def crops(samples: SampleCache, tmp_path_factory: pytest.TempPathFactory) -> TokenCrops:
    features = FeatureCache(tmp_path_factory.mktemp("features"))
    config = EncodeConfig(num_versions=5, gain_db=(0.0, 0.0), speed_semitones=6.0)
    encode_corpora(samples, features, MeanCodec().eval(), DIGEST, config)
    recordings = open_tokens(samples, features, DIGEST, config)
    return TokenCrops(samples, recordings, hop_length=HOP, num_frames=100, weights={"ramps": 1.0})


def test_a_crop_is_one_recording_where_the_sound_is(crops: TokenCrops) -> None:
    """The ramps do not overlap in level, and a level says where in its ramp a token is."""
    seen = set()
    for draw in range(40):
        for index in range(len(crops)):
            crop = crops.draw(index, Rng(draw).child(index))
            held = crop.tokens[crop.valid]
            kind = crop.recording
            seen.add(kind)
            if kind == 2:
                assert 14 <= len(held) <= 29
                assert not crop.valid[len(held) :].any()
                assert not crop.tokens[len(held) :].any()
                continue
            assert crop.valid.all()
            low, high = [(45, 455), (545, 955)][kind]
            inner = held[2:-2]  # a recording ends within a frame
            assert np.all((inner >= low * 0.6) & (inner <= high))
            rise = np.diff(inner)
            assert np.abs(rise).max() < 15  # of one recording: the other is 90 away or more
    assert seen == {0, 1, 2}


def test_crops_cover_all_of_a_recording_in_all_versions(crops: TokenCrops) -> None:
    codes = crops.recordings[0].versions
    assert len({len(version) for version in codes}) == 5
    drawn = [
        crop
        for seed in range(500)
        if (crop := crops.draw(seed % len(crops), Rng(seed))).recording == 0
    ]
    starts: list[list[int]] = [[] for _ in codes]
    for crop in drawn:
        for number, version in enumerate(codes):
            if np.array_equal(version[crop.start : crop.start + 100], crop.tokens):
                starts[number].append(crop.start)
    assert max(len(version) for version in codes) > 620  # of 600 at the recording's own speed
    for version, own in zip(codes, starts, strict=True):
        assert min(own) < 60
        assert max(own) > len(version) - 100 - 40
        # The last place is no likelier than others, as it would be were speed forgotten.
        assert sum(start == len(version) - 100 for start in own) < 0.05 * len(own)


def test_fixed_crops_are_whole_different_and_always_the_same(crops: TokenCrops) -> None:
    first, second = crops.fixed(50), crops.fixed(50)
    assert first
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.tokens, b.tokens)
        assert a.valid.all()
    places = [(crop.recording, crop.start) for crop in first]
    assert len(set(places)) == len(places)
    assert 2 not in {crop.recording for crop in first}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_versions": 0}, "num_versions"),
        ({"gain_db": (3.0, -3.0)}, "gain_db"),
        ({"speed_semitones": 13.0}, "speed_semitones"),
        ({"piece_s": 0.1}, "piece_s"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncodeConfig(**change)  # type: ignore[arg-type]


def _counts() -> TokenCounts:
    rng = np.random.default_rng(0)
    return TokenCounts([rng.integers(0, 2, 30), rng.integers(1, 3, 20)], 4)


def test_probabilities_of_the_baselines_sum_to_one() -> None:
    counts = _counts()
    assert counts.unigram.sum() == pytest.approx(1)
    every = np.arange(4)
    for left in range(4):  # 3 was never seen
        assert counts.follow(np.full(4, left), every).sum() == pytest.approx(1)
    gaps = np.array([[0, *gap, 2] for gap in itertools.product(range(4), repeat=3)])
    assert np.exp(-counts.gap_nll(gaps, 1, 4)).sum() == pytest.approx(1)


def test_the_bigram_of_a_gap_is_bayes_rule() -> None:
    counts = _counts()
    row = np.array([[1, 2, 0]])
    follow = counts.follow(np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)).reshape(4, 4)
    expected = follow[1, 2] * follow[2, 0] / (follow[1] @ follow[:, 0])
    assert np.exp(-counts.gap_nll(row, 1, 2))[0] == pytest.approx(expected)
    with pytest.raises(ShapeError, match="on each side"):
        counts.gap_nll(row, 1, 3)


def test_no_pair_is_counted_across_recordings() -> None:
    counts = TokenCounts([np.array([0, 0, 0]), np.array([1, 1, 1])], 2)
    # 0 follows 0 twice: one kind in two, (2 + 1/2) / 3.
    assert counts.follow(np.array([0]), np.array([0]))[0] == pytest.approx(2.5 / 3)
    with pytest.raises(ConfigError, match="must be in"):
        TokenCounts([np.array([0, 2])], 2)
    with pytest.raises(ConfigError, match="no tokens"):
        TokenCounts([], 2)
