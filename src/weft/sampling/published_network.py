"""AIDD's network as published: the sizes of its tensors, and a network that has them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import torch
from torch import Tensor

from weft.checkpoint import table_of
from weft.errors import CheckpointError
from weft.nn.token_dit import TokenDit, TokenDitConfig, published_order
from weft.sampling.published import (
    AVERAGES,
    HINT,
    check_finite,
    check_numbers,
    check_shapes,
    compare_settings,
    count_parts,
    find_setting,
    find_tensor,
    naming,
    shape_of,
)

WhichWeights: TypeAlias = Literal["ema", "model"]
"""The moving average of the weights, or the weights themselves."""

_ROTARY: Final = "rotary_emb.inv_freq"
_NUM_OUTSIDE_BLOCKS: Final = 10
_NUM_IN_BLOCK: Final = 10


@final
@dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """AIDD's network, and which of a file's weights it has."""

    network: TokenDit
    """In eval mode."""
    weights: WhichWeights | None
    """None where the file holds only one set, without saying which."""


def make_network(
    state: Mapping[str, Tensor],
    *,
    told: Path,
    weights: WhichWeights | None = None,
    settings: Mapping[str, Any] | None = None,
) -> PublishedNetwork:
    """Return the network that published tensors make.

    Args:
        state: what `read_tensors_of` gave.
        told: the file to name in errors.
        weights: which are wanted; None: the average where the file has both, else what it has.
        settings: what `read_settings` gave, compared with the sizes found; needed where the file
            holds the average only, which does not tell the number of heads.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape; the file does not have
            the weights that are wanted; or the settings contradict the tensors.
    """
    with naming(told):
        chosen, named, table, shadow = _choose(state, weights)
        check_numbers({**named, **shadow})
        if shadow:
            sizes = token_dit_sizes(_guide(shadow), _num_heads(shadow["0"], table, settings))
            order = published_order(sizes)
            if len(order) != len(shadow):
                raise CheckpointError(
                    f"its list of averages has {len(shadow)} tensors, and a network of "
                    f"{sizes.num_layers} blocks has {len(order)}"
                )
            named = {name: shadow[str(i)] for i, name in enumerate(order)}
        else:
            embedding = find_tensor(named, "vocab_embed.embedding")
            sizes = token_dit_sizes(named, _num_heads(embedding, table, settings))
        if settings is not None:
            compare_settings(settings, _aidd_claims(sizes))
            length = find_setting(settings, "model/length")
            if isinstance(length, int):
                sizes = replace(sizes, num_frames=length)
        with torch.device("meta"):
            wanted = table_of(TokenDit(sizes))
        check_shapes(named, wanted)
        check_finite(named)
        network = TokenDit(sizes)
        _load(network, named, table)
    return PublishedNetwork(network=network.eval(), weights=chosen)


def token_dit_sizes(state: Mapping[str, Tensor], num_heads: int) -> TokenDitConfig:
    """Return the sizes of AIDD's network from the shapes of its tensors.

    Args:
        state: by published name.
        num_heads: of attention; no parameter tells it.

    Raises:
        CheckpointError: a tensor that tells a size is missing or has an impossible shape.
    """
    num_states, width = shape_of(state, "vocab_embed.embedding", 2)
    inner = shape_of(state, "blocks.0.mlp.0.weight", 2)[0]
    if not width or inner % width:
        raise CheckpointError(f"its blocks have {inner} inner features, no multiple of {width}")
    return TokenDitConfig(
        codebook_size=num_states - 1,
        width=width,
        num_layers=count_parts(state, "blocks."),
        num_heads=num_heads,
        cond_dim=shape_of(state, "sigma_map.mlp.0.weight", 2)[0],
        expansion=inner // width,
    )


def _choose(
    state: Mapping[str, Tensor], weights: WhichWeights | None
) -> tuple[WhichWeights | None, dict[str, Tensor], Tensor | None, dict[str, Tensor]]:
    """Return which weights are taken, those with names, the rotary table, and those in a list."""
    shadow = _under(state, f"{AVERAGES}:")
    named = _under(state, "model:")
    is_plain = not shadow and not named
    if is_plain:
        named = dict(state)
    table = named.pop(_ROTARY, None)
    if is_plain:
        if weights is not None:
            raise CheckpointError(
                f"it holds one set of weights and does not say which, so {weights!r} cannot be "
                "chosen; leave --weights out"
            )
        return None, named, table, {}
    chosen = weights or "ema"
    if chosen == "ema" and not shadow:
        raise CheckpointError(
            "it holds no averaged weights (ema/shadow_params); --weights model takes the others"
        )
    if chosen == "model" and not named:
        raise CheckpointError("it holds averaged weights only; leave out --weights model")
    return chosen, named, table, shadow if chosen == "ema" else {}


def _guide(shadow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the few tensors of a list whose shapes tell the sizes of the network."""
    num_blocks, rest = divmod(len(shadow) - _NUM_OUTSIDE_BLOCKS, _NUM_IN_BLOCK)
    if num_blocks < 1 or rest:
        raise CheckpointError(
            f"its list of averages has {len(shadow)} tensors; a network of n blocks has "
            f"{_NUM_IN_BLOCK} n + {_NUM_OUTSIDE_BLOCKS}"
        )
    if {*shadow} != {str(i) for i in range(len(shadow))}:
        raise CheckpointError("its list of averages holds something else than tensors")
    guide = {"vocab_embed.embedding": shadow["0"], "sigma_map.mlp.0.weight": shadow["1"]}
    guide["blocks.0.mlp.0.weight"] = shadow["9"]
    return guide | {f"blocks.{i}.": shadow["0"] for i in range(num_blocks)}


def _num_heads(embedding: Tensor, table: Tensor | None, settings: Mapping[str, Any] | None) -> int:
    """Return the number of attention heads, from the rotary table or the settings."""
    width = embedding.shape[-1] if embedding.ndim else 0
    if table is not None:
        if table.ndim != 1 or not 1 <= 2 * len(table) <= width or width % (2 * len(table)):
            raise CheckpointError(
                f"{_ROTARY!r} has the shape {tuple(table.shape)}, which does not divide {width} "
                "features into heads"
            )
        return width // (2 * len(table))
    found = None if settings is None else find_setting(settings, "model/n_heads")
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise CheckpointError(
        f"it does not tell the number of attention heads ({_ROTARY!r} is missing); give the "
        "settings that came with it by --config, with model.n_heads"
    )


def _aidd_claims(sizes: TokenDitConfig) -> dict[str, Any]:
    """What settings published beside the weights must say, where they say it."""
    return {
        "tokens": sizes.codebook_size,
        "graph/type": "absorb",
        "noise/type": "loglinear",
        "model/hidden_size": sizes.width,
        "model/cond_dim": sizes.cond_dim,
        "model/n_blocks": sizes.num_layers,
        "model/n_heads": sizes.num_heads,
        "model/scale_by_sigma": True,
    }


def _load(network: TokenDit, named: Mapping[str, Tensor], table: Tensor | None) -> None:
    """Load weights whose shapes are known to fit, and have the rotary table compared."""
    state = {**named} if table is None else {**named, _ROTARY: table}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{why} {HINT}") from error


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
