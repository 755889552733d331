"""The absorbing process."""

import pytest
import torch

from weft.errors import ConfigError, ShapeError
from weft.process.masked import MaskedProcess
from weft.process.schedules import LogLinearNoise
from weft.process.spans import SpanConfig

PROCESS = MaskedProcess(codebook_size=16)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def clean_tokens(num_items: int = 4, num_frames: int = 50) -> torch.Tensor:
    return torch.randint(0, 16, (num_items, num_frames), generator=generator())


def test_the_absorbing_state_is_no_symbol() -> None:
    # In the released code the last symbol is the absorbing state, so it reads as masked.
    clean = torch.full((4, 50), 15)
    state = PROCESS.corrupt(clean, torch.full((4,), 0.5), generator=generator())
    assert PROCESS.absorbing == 16
    assert torch.equal(state.masked, state.tokens == 16)
    assert set(state.tokens.unique().tolist()) == {15, 16}


def test_tokens_change_where_they_are_masked_and_nowhere_else() -> None:
    clean = clean_tokens()
    before = clean.clone()
    state = PROCESS.corrupt(clean, torch.tensor([0.1, 0.5, 0.9, 1.0]), generator=generator())
    assert torch.equal(clean, before)
    assert torch.equal(state.tokens == clean, ~state.masked)
    assert state.tokens.dtype == clean.dtype
    counts = state.masked.sum(dim=1)
    assert bool((counts[1:] > counts[:-1]).all())


def test_times_come_with_their_noise() -> None:
    schedule = LogLinearNoise(eps=0.01)
    process = MaskedProcess(codebook_size=16, schedule=schedule)
    t = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    state = process.corrupt(clean_tokens(), t, generator=generator())
    assert torch.equal(state.t, t)
    assert torch.equal(state.total_noise, schedule.total_noise(t))
    assert torch.equal(state.noise_rate, schedule.noise_rate(t))
    assert state.total_noise.dtype == torch.float64


def test_padding_is_kept_whatever_it_holds() -> None:
    clean = clean_tokens()
    clean[:, 30:] = -7
    valid = torch.ones_like(clean, dtype=torch.bool)
    valid[:, 30:] = False
    state = PROCESS.corrupt(clean, torch.full((4,), 1.0), generator=generator(), valid=valid)
    assert bool((state.tokens[:, 30:] == -7).all())
    assert int(state.masked.sum()) >= 4 * 29


def test_spans_are_those_of_the_config() -> None:
    clean = clean_tokens(200, 300)
    t = torch.full((200,), 0.1)
    lengths = []
    for spans in (SpanConfig(kind="independent"), SpanConfig(fresh_share=1.0)):
        process = MaskedProcess(codebook_size=16, spans=spans)
        masked = process.corrupt(clean, t, generator=generator()).masked
        starts = masked[:, 0].sum() + (masked[:, 1:] & ~masked[:, :-1]).sum()
        lengths.append(float(masked.sum() / starts))
    assert lengths[0] < 1.2
    assert lengths[1] > 8


@pytest.mark.parametrize("token", [-1, 16])
def test_tokens_outside_the_codebook_are_refused(token: int) -> None:
    clean = clean_tokens()
    clean[2, 7] = token
    with pytest.raises(ConfigError, match=r"clean tokens must be in \[0, 16\)"):
        PROCESS.corrupt(clean, torch.full((4,), 0.5), generator=generator())


def test_one_time_an_item_is_needed() -> None:
    with pytest.raises(ShapeError, match="t has 3 times for 4 items"):
        MaskedProcess.corrupt.__wrapped__(  # the type hook would be first otherwise
            PROCESS, clean_tokens(), torch.zeros(3), generator=generator()
        )


@pytest.mark.parametrize("size", [1, (1 << 20) + 1])
def test_codebooks_of_no_use_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="codebook_size must be in"):
        MaskedProcess(codebook_size=size)
