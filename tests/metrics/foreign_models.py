"""Small models of the published kinds, with random weights, for tests of their adapters."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from parity.embedders.material import weights
from weft.metrics.embedders.laion import FRONT_END
from weft.metrics.embedders.panns import FRONTS
from weft.nn.panns import Cnn14
from weft.nn.passt import PaSST
from weft.nn.vggish import VGGish

FIXTURES = Path(__file__).parents[1] / "parity" / "embedders"


def shapes(table: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Names and shapes from a fixture's table."""
    pairs = [str(row).split(" ") for row in table]
    return {name: tuple(int(n) for n in shape.split("x") if n) for name, shape in pairs}


def filled(module: nn.Module, *, keep: tuple[str, ...] = ()) -> Any:
    """A network with the weights of its names."""
    state = module.state_dict()
    made = weights({k: tuple(v.shape) for k, v in state.items() if not k.startswith(keep)})
    module.load_state_dict(state | {k: torch.from_numpy(v) for k, v in made.items()})
    return module.eval()


def narrow_vggish(**settings: int) -> VGGish:
    return filled(VGGish(**{"hidden": 32, **settings}))


def cnn14(name: str, **settings: int) -> Cnn14:
    front = FRONTS[name]
    return Cnn14(
        sample_rate=front.sample_rate,
        n_fft=front.n_fft,
        hop_length=front.hop_length,
        high_hz=front.high_hz,
        **settings,
    )


def narrow_cnn14(name: str) -> Cnn14:
    # The filters of the front end are left as they are computed, to be compared as well.
    return filled(cnn14(name, width=4), keep=("logmel_extractor",))


def narrow_passt() -> PaSST:
    return filled(PaSST(dim=96, depth=2, num_heads=3))


def clap_config(**audio: object) -> Any:
    import transformers

    text = {
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-5,
    }
    sound = {
        "patch_embeds_hidden_size": 16,
        "depths": [2, 2, 2, 2],
        "num_attention_heads": [1, 2, 4, 8],
        "hidden_size": 128,
    }
    return transformers.ClapConfig(text_config=text, audio_config={**sound, **audio})


def clap_folder(path: Path, *, has_tokens: bool = True, **audio: object) -> Path:
    """A folder of a small CLAP as transformers writes it."""
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        transformers.ClapModel(clap_config(**audio)).save_pretrained(path)
        truncation = "fusion" if audio.get("enable_fusion") else "rand_trunc"
        front_end = transformers.ClapFeatureExtractor(**FRONT_END | {"truncation": truncation})
        front_end.save_pretrained(path)
    if has_tokens:
        tokenizer_folder(path)
    return path


def tokenizer_folder(path: Path) -> Path:
    """The files of a RoBERTa tokenizer that knows single letters only."""
    path.mkdir(exist_ok=True)
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    (path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    return path


def encodec_folder(path: Path, *, is_wide: bool) -> Path:
    """A folder of a small EnCodec at 24 kHz, or at 48 kHz where wide."""
    import transformers

    wide = {
        "sampling_rate": 48000,
        "audio_channels": 2,
        "normalize": True,
        "chunk_length_s": 1.0,
        "overlap": 0.01,
        "norm_type": "time_group_norm",
        "use_causal_conv": False,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(2)
        config = transformers.EncodecConfig(
            num_filters=2, hidden_size=16, codebook_dim=16, **(wide if is_wide else {})
        )
        transformers.EncodecModel(config).save_pretrained(path)
    return path
