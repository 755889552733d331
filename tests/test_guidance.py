from pathlib import Path

import numpy as np
import pytest

import weft
from weft.audio.audio import Audio
from weft.errors import AudioFormatError, ConfigError

SOUND = Audio.from_samples(np.ones((1, 800)) * 0.1, 8000)


def test_references_are_recordings_or_files(tmp_path: Path) -> None:
    SOUND.write(tmp_path / "one.wav")
    style = weft.guidance.like(SOUND, tmp_path / "one.wav", weight=0.5)
    assert style.references[0] is SOUND
    assert np.array_equal(style.references[1].samples, np.float32(SOUND.samples))
    assert (style.tags, style.weight) == ((), 0.5)


def test_tags_are_kept_in_order() -> None:
    assert weft.guidance.tag("rain", "wind").tags == ("rain", "wind")


def test_a_silent_reference_is_refused() -> None:
    with pytest.raises(ConfigError, match="is silent from beginning to end"):
        weft.guidance.like(SOUND, Audio.from_samples(np.full((2, 800), 1e-6), 8000))


def test_sound_anywhere_in_a_reference_is_enough() -> None:
    late = np.zeros((1, 600_000))
    late[0, -1] = -0.01
    assert weft.guidance.like(Audio.from_samples(late, 8000)).references


def test_what_is_no_style_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one recording"):
        weft.guidance.like()
    with pytest.raises(ConfigError, match="at least one"):
        weft.guidance.tag()
    with pytest.raises(ConfigError, match="weight"):
        weft.guidance.like(SOUND, weight=-1.0)
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioFormatError, match=r"empty\.wav"):
        weft.guidance.like(tmp_path / "empty.wav")
