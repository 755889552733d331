"""Original checkpoints of LAION's CLAP: their sizes, and their tensors under other names.

Source: LAION-AI/CLAP (``laion_clap``) and the model of the same network in transformers.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from weft.metrics.embedders.huggingface import import_transformers

SIZES: dict[str, dict[str, Any]] = {
    "clap-audio": {"patch_embeds_hidden_size": 96, "depths": [2, 2, 6, 2], "hidden_size": 768},
    "clap-music": {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
}
"""Audio networks of the original checkpoints: HTS-AT "tiny" and "base"."""
FRONT_END: dict[str, Any] = {
    "frequency_min": 50,
    "frequency_max": 14000,
    "truncation": "rand_trunc",
    "padding": "repeatpad",
}
"""Front end of the checkpoints without fusion: Slaney's mel filters from 50 Hz to 14 kHz."""
OPTIONAL = (".num_batches_tracked", ".position_ids", ".token_type_ids")
"""Tensors that hold no weights and that older files lack."""

_UNUSED = re.compile(
    r"text_transform\.|audio_transform\.|audio_branch\.(spectrogram_extractor|logmel_extractor|"
    r"tscam_conv|head)\.|.*\.attn_mask$|text_branch\.embeddings\.(position_ids|token_type_ids)$"
)
_AUDIO_NAMES = (
    (".attn.proj.", ".attention.output.dense."),
    (".attn.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".bn0.", ".batch_norm."),
)
_PROJECTION_NAMES = (
    ("_projection.0.", "_projection.linear1."),
    ("_projection.2.", "_projection.linear2."),
)


def clap_config(name: str) -> Any:
    """Return the settings of transformers for an original checkpoint.

    Args:
        name: a key of `SIZES`.
    """
    # The text network is RoBERTa's base size, whose normalisation adds 1e-5, not the 1e-12 that
    # transformers takes for CLAP unless told.
    text = {"layer_norm_eps": 1e-5}
    return import_transformers().ClapConfig(text_config=text, audio_config=dict(SIZES[name]))


def to_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of an original checkpoint under the names of transformers.

    Heads that CLAP scores do not use, and matrices of the front end, are left out.
    """
    renamed = {}
    for original, tensor in state.items():
        name = original.removeprefix("module.")
        if _UNUSED.match(name):
            continue
        for old, new in _PROJECTION_NAMES:
            name = name.replace(old, new)
        if name.startswith("text_branch."):
            name = name.replace("text_branch.", "text_model.", 1)
        elif name.startswith("audio_branch."):
            name = name.replace("audio_branch.", "audio_model.audio_encoder.", 1)
            if ".attn.qkv." in name:
                for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    renamed[name.replace(".attn.qkv.", f".attention.self.{part}.")] = rows
                continue
            for old, new in _AUDIO_NAMES:
                name = name.replace(old, new)
        renamed[name] = tensor
    return renamed
