"""WavTokenizer as published: the sizes of its tensors, and a codec that has them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from weft.checkpoint import table_of
from weft.codecs.wavtokenizer import (
    DEAD,
    WavTokenizer,
    WavTokenizerConfig,
    fold_weight_norm,
    from_published,
    published_names,
)
from weft.errors import CheckpointError
from weft.nn.quantiser import QuantiserConfig
from weft.nn.seanet import SeanetConfig
from weft.nn.vocos import VocosConfig
from weft.sampling.published import (
    HINT,
    check_finite,
    check_numbers,
    check_shapes,
    compare_settings,
    count_parts,
    find_setting,
    naming,
    shape_of,
)

_ENCODER: Final = "feature_extractor.encodec.encoder.model."
_CODEBOOK: Final = "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
_WINDOW: Final = "head.istft.window"
_SAMPLE_RATE: Final = 24000


def make_codec(
    state: Mapping[str, Tensor], *, told: Path, settings: Mapping[str, Any] | None = None
) -> WavTokenizer:
    """Return the codec that published tensors make.

    Args:
        state: by published name, weight normalisation as ``weight_g`` and ``weight_v``, as torch's
            newer ``parametrizations``, or folded.
        told: the file to name in errors.
        settings: what `read_settings` gave, compared with the sizes found.

    Returns:
        In eval mode, in single precision.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape, or not of floating numbers;
            or the settings contradict the tensors.
    """
    live = {k: v for k, v in _renamed(state).items() if not k.startswith(DEAD)}
    window = live.pop(_WINDOW, None)
    with naming(told):
        check_numbers(live)
        folded = fold_weight_norm(live)
        check_finite(folded)
        sizes = wavtokenizer_sizes(folded, sample_rate=_sample_rate(settings))
        if settings is not None:
            compare_settings(settings, _wavtokenizer_claims(sizes))
        if window is not None:
            _check_window(window, sizes.decoder.n_fft)
        started = folded.get(f"{_CODEBOOK}inited")
        if started is not None and (started.numel() != 1 or not bool(started.item())):
            raise CheckpointError("its codebook was never trained")
        with torch.device("meta"):
            table = table_of(WavTokenizer(sizes))
        wanted = {theirs: table[ours] for ours, theirs in published_names(sizes).items()}
        wanted.pop(f"{_CODEBOOK}inited")
        check_shapes({k: v for k, v in folded.items() if not k.endswith(".inited")}, wanted)
        return from_published(folded, sizes)


def wavtokenizer_sizes(
    state: Mapping[str, Tensor], *, sample_rate: int = _SAMPLE_RATE
) -> WavTokenizerConfig:
    """Return the sizes of a codec from the shapes of its tensors.

    The convolutions that shorten the sequence have kernels of twice their stride, which gives the
    strides, their product the samples of a frame, and the head the samples of a spectrum.

    Args:
        state: by published name, weight normalisation folded.
        sample_rate: in Hz; no tensor tells it.

    Raises:
        CheckpointError: a tensor that tells a size is missing or has an impossible shape.
    """
    places = [int(m[1]) for name in state if (m := re.match(rf"{_ENCODER}(\d+)\.", name[:200]))]
    if not places:
        raise CheckpointError(f"it lacks an encoder, names that begin with {_ENCODER!r}; {HINT}")
    recurrent = [
        int(m[1]) for k in state if (m := re.match(rf"{_ENCODER}\d+\.lstm\.w\S*ih_l(\d+)$", k))
    ]
    last = max(places)
    num_strides = (last - (3 if recurrent else 2)) // 3
    kernels = [
        shape_of(state, f"{_ENCODER}{3 + 3 * i}.conv.conv.weight", 3)[2]
        for i in range(min(num_strides, 16))
    ]
    if any(kernel % 2 for kernel in kernels):
        raise CheckpointError(f"its strides cannot be told from kernels of {kernels} samples")
    first = shape_of(state, f"{_ENCODER}0.conv.conv.weight", 3)
    codes = shape_of(state, f"{_CODEBOOK}embed", 2)
    embed = shape_of(state, "backbone.embed.weight", 3)
    head = shape_of(state, "head.out.weight", 2)
    encoder = SeanetConfig(
        num_filters=first[0],
        strides=tuple(kernel // 2 for kernel in kernels),
        num_lstm_layers=len(recurrent),
        width=shape_of(state, f"{_ENCODER}{last}.conv.conv.weight", 3)[0],
    )
    return WavTokenizerConfig(
        sample_rate=sample_rate,
        encoder=encoder,
        quantiser=QuantiserConfig(codebook_size=codes[0], width=codes[1]),
        decoder=VocosConfig(
            num_features=embed[1],
            width=embed[0],
            hidden_width=shape_of(state, "backbone.convnext.0.pwconv1.weight", 2)[0],
            num_layers=count_parts(state, "backbone.convnext."),
            n_fft=head[0] - 2,
            hop_length=encoder.hop_length,
        ),
    )


def _wavtokenizer_claims(sizes: WavTokenizerConfig) -> dict[str, Any]:
    """What settings published beside the weights must say, where they say it."""
    encoder, decoder = sizes.encoder, sizes.decoder
    return {
        "model/sample_rate": sizes.sample_rate,
        "model/feature_extractor/dowmsamples": [*reversed(encoder.strides)],
        "model/feature_extractor/vq_bins": sizes.quantiser.codebook_size,
        "model/feature_extractor/num_quantizers": 1,
        "model/backbone/input_channels": decoder.num_features,
        "model/backbone/dim": decoder.width,
        "model/backbone/intermediate_dim": decoder.hidden_width,
        "model/backbone/num_layers": decoder.num_layers,
        "model/head/dim": decoder.width,
        "model/head/n_fft": decoder.n_fft,
        "model/head/hop_length": decoder.hop_length,
        "model/head/padding": "same",
    }


def _sample_rate(settings: Mapping[str, Any] | None) -> int:
    found = None if settings is None else find_setting(settings, "model/sample_rate")
    return found if isinstance(found, int) and not isinstance(found, bool) else _SAMPLE_RATE


def _check_window(window: Tensor, n_fft: int) -> None:
    """Refuse a spectrum window that is not the one used here."""
    expected = torch.hann_window(n_fft, dtype=torch.float64)
    if window.shape != expected.shape or float((window.double() - expected).abs().max()) > 1e-3:
        raise CheckpointError(f"{_WINDOW!r} is no Hann window of {n_fft} samples; {HINT}")


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weight normalisation of newer versions of torch its older names."""
    return {
        re.sub(
            r"\.parametrizations\.weight\.original([01])$",
            lambda m: ".weight_g" if m[1] == "0" else ".weight_v",
            name,
        ): tensor
        for name, tensor in state.items()
    }
