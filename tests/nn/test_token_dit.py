"""The transformer that scores tokens, beside what the published code gives."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError
from weft.nn.token_dit import (
    TokenDit,
    TokenDitConfig,
    noise_waves,
    published_order,
    rotary_tables,
)

SEDD = Path(__file__).parents[1] / "parity" / "sedd"
SMALL = TokenDitConfig(
    codebook_size=20, width=32, num_layers=3, num_heads=4, cond_dim=8, num_frames=16
)
PUBLISHED = TokenDitConfig(codebook_size=4095)
TOLERANCE = 2e-5
"""1e-6 is measured; the fixture's own is 2e-4."""


def published_config() -> TokenDitConfig:
    config = json.loads((SEDD / "config.json").read_text())
    return TokenDitConfig(
        codebook_size=config["tokens"],
        width=config["model"]["hidden_size"],
        num_layers=config["model"]["n_blocks"],
        num_heads=config["model"]["n_heads"],
        cond_dim=config["model"]["cond_dim"],
        dropout=config["model"]["dropout"],
    )


def published_network() -> TokenDit:
    network = TokenDit(published_config()).eval()
    network.load_state_dict(load_file(SEDD / "state.safetensors"))
    return network


def reference() -> dict[str, Tensor]:
    with np.load(SEDD / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_network(config: TokenDitConfig = SMALL, seed: int = 0) -> TokenDit:
    """A network none of whose parameters is zero."""
    torch.manual_seed(seed)
    network = TokenDit(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def random_input(b: int = 3, l: int = 11, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, SMALL.codebook_size + 1, (b, l), generator=generator)
    return tokens, 7 * torch.rand(b, generator=generator)


def inner_arrays(network: TokenDit, tokens: Tensor, total_noise: Tensor) -> dict[str, Tensor]:
    """What the layers give that the fixture has arrays of."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, inputs, output: found.__setitem__(
            name, inputs[0] if name.endswith("ctx") else output
        )

    first, last = network.blocks[0], network.blocks[-1]
    hooks = [
        network.sigma_map.register_forward_hook(keep("sigma_map_out")),
        first.attn_out.register_forward_hook(keep("block0_attn_ctx")),
        first.register_forward_hook(keep("block0_out")),
        last.register_forward_hook(keep("last_block_out")),
    ]
    with torch.no_grad():
        found["raw_logits"] = network(tokens, total_noise)
    for hook in hooks:
        hook.remove()
    found["time_embedding"] = noise_waves(total_noise)
    cosine, sine = rotary_tables(tokens.shape[1], first.attn_qkv.in_features // first.num_heads)
    return found | {"rope_cos_qk": cosine, "rope_sin_qk": sine}


def test_every_layer_gives_what_the_published_code_gives() -> None:
    wanted = reference()
    found = inner_arrays(published_network(), wanted["x"], wanted["sigma"])
    assert set(found) == {
        "time_embedding", "sigma_map_out", "rope_cos_qk", "rope_sin_qk", "block0_attn_ctx",
        "block0_out", "last_block_out", "raw_logits",
    }  # fmt: skip
    for name, array in found.items():
        torch.testing.assert_close(
            array, wanted[name], atol=TOLERANCE, rtol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradients_are_those_of_the_published_code() -> None:
    """The published gradient of the log-score, through the network, gives the published ones."""
    wanted = reference()
    network = published_network()
    raw = network(wanted["x"], wanted["loss_sigma"])
    own = nn.functional.one_hot(wanted["x"], raw.shape[-1]).bool()  # set to 0 in the log-score
    raw.backward(wanted["grad_log_score"].masked_fill(own, 0.0))
    qkv = network.blocks[0].attn_qkv.weight.grad
    assert qkv is not None
    limit = 1e-5 * wanted["grad_block0_qkv"].abs().max()
    assert (qkv - wanted["grad_block0_qkv"]).abs().max() < limit


def test_parameters_have_the_published_names_shapes_and_order() -> None:
    order = json.loads((SEDD / "config.json").read_text())["parameter_order"]
    config = published_config()
    assert published_order(config) == order
    published = load_file(SEDD / "state.safetensors")
    published.pop("rotary_emb.inv_freq")
    state = TokenDit(config).state_dict()
    assert {name: x.shape for name, x in state.items()} == {
        name: x.shape for name, x in published.items()
    }


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = TokenDit(PUBLISHED)
        whole = TokenDit(TokenDitConfig())
    parts = {name: count(part) for name, part in network.named_children()}
    assert parts == {
        "vocab_embed": 3_145_728,
        "sigma_map": 49_408,
        "blocks": 92_132_352,
        "output_layer": 3_348_736,
    }
    assert count(network) == 98_676_224
    assert count(whole) == 98_676_224 + 768 + 769  # a row more in, a row and an offset more out


def test_the_published_table_of_rates_is_dropped_and_no_other() -> None:
    state = load_file(SEDD / "state.safetensors")
    network = TokenDit(published_config())
    network.load_state_dict(state)
    assert "rotary_emb.inv_freq" in state
    assert "rotary_emb.inv_freq" not in network.state_dict()
    with pytest.raises(RuntimeError, match="rates of heads of 16 features and base 10000"):
        network.load_state_dict(state | {"rotary_emb.inv_freq": state["rotary_emb.inv_freq"] ** 2})
    with pytest.raises(RuntimeError, match="rates of heads of 16 features"):
        network.load_state_dict(state | {"rotary_emb.inv_freq": torch.ones(4)})
    with pytest.raises(RuntimeError, match="Unexpected"):
        network.load_state_dict(state | {"rotary_emb.other": torch.ones(4)})
    with pytest.raises(RuntimeError, match="Missing"):
        network.load_state_dict({name: x for name, x in state.items() if "norm_final" not in name})


def test_an_untrained_network_gives_zeros_at_every_noise() -> None:
    torch.manual_seed(0)
    network, arguments = TokenDit(SMALL), random_input()
    raw = network(*arguments)
    block_out = inner_arrays(network.eval(), *arguments)["last_block_out"]
    assert torch.equal(block_out, network.vocab_embed(arguments[0]))
    assert raw.shape == (3, 11, SMALL.codebook_size + 1)
    assert not raw.any()


def test_rows_are_those_of_the_whole_output() -> None:
    network = random_network()
    tokens, total_noise = random_input()
    rows = torch.tensor([[0, 4, 10], [10, 3, 3], [7, 6, 5]])
    valid = torch.ones(3, 11, dtype=torch.bool)
    valid[1, :3] = False
    with torch.no_grad():
        for given in (None, valid):
            whole = network(tokens, total_noise, valid=given)
            few = network(tokens, total_noise, valid=given, rows=rows)
            assert few.shape == (3, 3, SMALL.codebook_size + 1)
            expected = torch.stack([whole[i, rows[i]] for i in range(3)])
            torch.testing.assert_close(few, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole[0, 0], whole[0, 4], atol=0.1)


def test_gradients_through_rows_are_those_through_the_whole() -> None:
    network = random_network()
    tokens, total_noise = random_input()
    rows = torch.tensor([[0, 4], [10, 3], [7, 6]])
    grads = []
    for wanted in (None, rows):
        network.zero_grad()
        raw = network(tokens, total_noise, rows=wanted)
        if wanted is None:
            raw = torch.stack([raw[i, rows[i]] for i in range(3)])
        raw.square().sum().backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    for whole, few in zip(*grads, strict=True):
        assert whole is not None
        assert few is not None
        torch.testing.assert_close(few, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_padding", [1, 5])
def test_padding_changes_nothing(num_padding: int) -> None:
    network = random_network()
    tokens, total_noise = random_input()
    padded = nn.functional.pad(tokens, (0, num_padding), value=3)
    valid = torch.ones_like(padded, dtype=torch.bool)
    valid[:, -num_padding:] = False
    with torch.no_grad():
        alone = network(tokens, total_noise)
        found = network(padded, total_noise, valid=valid)[:, :-num_padding]
        seen = network(padded, total_noise)[:, :-num_padding]
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(seen, alone, atol=1e-2)


def test_an_item_of_padding_only_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kernels give NaN where nothing may be attended to, so they are never asked."""
    kernel = nn.functional.scaled_dot_product_attention

    def watched(*args: Tensor, attn_mask: Tensor, **rest: Any) -> Tensor:
        assert attn_mask.any(dim=-1).all()
        return kernel(*args, attn_mask=attn_mask, **rest)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    network = random_network()
    valid = torch.ones(3, 11, dtype=torch.bool)
    valid[1] = False
    tokens, total_noise = random_input()
    network(tokens, total_noise, valid=valid).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_items_do_not_see_each_other() -> None:
    network = random_network()
    tokens, total_noise = random_input()
    with torch.no_grad():
        together = network(tokens, total_noise)
        for i in range(3):
            alone = network(tokens[i : i + 1], total_noise[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


def test_only_distances_of_frames_count_not_their_positions() -> None:
    network = random_network(replace(SMALL, num_layers=1))
    tokens, total_noise = random_input(1, 40)
    hidden = torch.zeros(1, 12, dtype=torch.bool)
    shifted = torch.cat([hidden, torch.ones(1, 40, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        alone = network(tokens, total_noise)
        later = network(nn.functional.pad(tokens, (12, 0)), total_noise, valid=shifted)[:, 12:]
        mixed = network(tokens.flip(1), total_noise).flip(1)
    torch.testing.assert_close(later, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(mixed, alone, atol=1e-2)


def test_longer_sequences_than_trained_are_taken() -> None:
    network = random_network()
    tokens, total_noise = random_input(2, 3 * SMALL.num_frames)
    assert network.num_frames == SMALL.num_frames
    assert network(tokens, total_noise).isfinite().all()


def test_noise_counts_only_where_the_network_is_told_it() -> None:
    tokens, total_noise = random_input()
    told = random_network()
    untold = random_network(replace(SMALL, is_time_conditioned=False))
    untold.load_state_dict(told.state_dict())
    with torch.no_grad():
        zero = told(tokens, torch.zeros(3))
        assert not torch.allclose(told(tokens, total_noise), zero, atol=1e-2)
        assert torch.equal(untold(tokens, total_noise), zero)
        assert torch.equal(untold(tokens, total_noise.double()), zero)


def test_without_noise_the_constant_condition_is_learned() -> None:
    network = random_network(replace(SMALL, is_time_conditioned=False))
    tokens, total_noise = random_input()
    network(tokens, total_noise).square().sum().backward()
    grad = network.sigma_map.mlp[0].weight.grad
    assert grad is not None
    assert grad.abs().max() > 0


def test_training_drops_features_and_attention_weights() -> None:
    network = random_network(replace(SMALL, dropout=0.5)).train()
    tokens, total_noise = random_input()
    with torch.no_grad():
        torch.manual_seed(5)
        first = network(tokens, total_noise)
        assert not torch.equal(first, network(tokens, total_noise))
        torch.manual_seed(5)
        assert torch.equal(first, network(tokens, total_noise))
        network.eval()
        assert torch.equal(network(tokens, total_noise), network(tokens, total_noise))
    still = random_network(replace(SMALL, dropout=0.0)).train()
    assert torch.equal(still(tokens, total_noise), still(tokens, total_noise))


def test_attention_weights_are_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    kernel = nn.functional.scaled_dot_product_attention

    def watched(*args: Tensor, dropout_p: float, **rest: Any) -> Tensor:
        seen.append(dropout_p)
        return kernel(*args, **rest)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    network = random_network(replace(SMALL, num_layers=1, dropout=0.3))
    first, second = (network.train()(*random_input()) for _ in range(2))
    assert not torch.equal(first, second)  # features are dropped, though here no weights are
    network.eval()(*random_input())
    assert seen == [0.3, 0.3, 0.0]


def test_it_learns_to_copy_what_stands_beside_a_hidden_token() -> None:
    torch.manual_seed(0)
    config = replace(SMALL, codebook_size=4, num_layers=1, dropout=0.0)
    network = TokenDit(config)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for step in range(100):
        clean = torch.randint(0, 4, (16, 4)).repeat_interleave(2, dim=1)
        hidden = clean.clone()
        hidden[:, 2 * (step % 4)] = config.codebook_size
        raw = network(hidden, torch.rand(16))
        loss = nn.functional.cross_entropy(raw[:, 2 * (step % 4)], clean[:, 2 * (step % 4)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) / 20 < 0.8  # 1.61 before training; 0.44 measured


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_give_nearly_the_same(dtype: torch.dtype) -> None:
    network = random_network()
    tokens, total_noise = random_input()
    with torch.no_grad():
        wanted = network(tokens, total_noise)
        found = network.to(dtype)(tokens, total_noise)
    assert found.dtype == dtype
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    assert (found.float() - wanted).abs().max() < tolerance * wanted.abs().max()


def test_it_runs_under_autocast() -> None:
    network = random_network()
    tokens, total_noise = random_input()
    wanted = network(tokens, total_noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(tokens, total_noise, rows=torch.tensor([[1], [2], [3]]))
    expected = torch.stack([wanted[i, i + 1] for i in range(3)])[:, None]
    assert (found.float() - expected).abs().max() < 0.05 * wanted.abs().max()
    found.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebook_size": 0}, r"codebook_size must be a whole number in \[1, 65536\], got 0"),
        ({"codebook_size": 65537}, "65537"),
        ({"width": 4098}, "width"),
        ({"width": True}, "width"),
        ({"num_layers": 65}, "num_layers"),
        ({"num_heads": 129}, "num_heads"),
        ({"num_heads": 0}, "num_heads"),
        ({"cond_dim": 0}, "cond_dim"),
        ({"expansion": 17}, "expansion"),
        ({"num_frames": 0}, "num_frames"),
        ({"width": 36}, "4 heads of 36 features"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": float("nan")}, "dropout"),
    ],
)
def test_sizes_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_a_width_that_is_no_whole_number_is_refused() -> None:
    config = replace(SMALL)
    object.__setattr__(config, "width", 32.0)  # as a file could have it; the hook is not on there
    with pytest.raises(ConfigError, match=r"width must be a whole number in \[2, 4096\], got 32.0"):
        config.__post_init__()


def test_shapes_that_do_not_fit_are_refused() -> None:
    network = random_network()
    tokens, total_noise = random_input()
    with pytest.raises(ShapeError, match="one each at least"):
        network(tokens[:, :0], total_noise)
    unchecked = network.forward.__wrapped__  # without the hook, as users have it
    with pytest.raises(ShapeError, match="total_noise must hold one number for each of 3 items"):
        unchecked(network, tokens, total_noise[:1])
    with pytest.raises(ShapeError, match=r"valid must be of the tokens' shape \(3, 11\)"):
        unchecked(network, tokens, total_noise, valid=torch.ones(1, 11, dtype=torch.bool))
    with pytest.raises(ShapeError, match="rows must be lists of frames, one for each of 3 items"):
        unchecked(network, tokens, total_noise, rows=torch.zeros(1, 2, dtype=torch.long))
