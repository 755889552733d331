"""The codebook: nearest codes, gradients, and how it follows the frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from published_wavtokenizer import fixture_config, fixture_state, reference
from torch import Tensor

from weft.codecs.wavtokenizer import from_published
from weft.errors import ConfigError
from weft.nn.quantiser import Quantiser, QuantiserConfig


def _quantiser(codebook_size: int = 8, width: int = 3, **settings: float) -> Quantiser:
    torch.manual_seed(0)
    config = QuantiserConfig(codebook_size=codebook_size, width=width, **settings)  # type: ignore[arg-type]
    return Quantiser(config)


def test_the_nearest_code_is_chosen() -> None:
    quantiser = _quantiser()
    features = torch.randn(4, 5, 3)
    distances = (features[..., None, :] - quantiser.codebook).square().sum(dim=-1)
    assert torch.equal(quantiser.encode(features), distances.argmin(dim=-1))


def test_one_training_step_is_that_of_the_published_code() -> None:
    arrays = {k: torch.from_numpy(v) for k, v in reference().items() if k.startswith("train_")}
    quantiser = from_published(fixture_state(), fixture_config()).quantiser.train()
    features = arrays["train_in"].transpose(1, 2).requires_grad_()
    quantised, codes, commitment = quantiser(features)
    assert torch.equal(codes, arrays["train_codes"])
    assert torch.allclose(quantised.transpose(1, 2), arrays["train_quantized_st"], atol=1e-6)
    assert float(commitment.detach()) == pytest.approx(float(arrays["train_commit_loss"]), rel=1e-5)
    commitment.backward()
    assert features.grad is not None
    grad = features.grad.transpose(1, 2)
    assert torch.allclose(grad, arrays["train_commit_grad"], rtol=1e-4, atol=1e-9)
    quantiser.learn(features.detach(), codes)
    for ours, theirs in (
        (quantiser.counts, "train_cluster_size_after"),
        (quantiser.sums, "train_embed_avg_after"),
        (quantiser.codebook, "train_embed_after"),
    ):
        assert torch.allclose(ours, arrays[theirs], rtol=1e-4, atol=1e-6)


def test_gradients_pass_the_quantiser_unchanged() -> None:
    quantiser = _quantiser()
    features = torch.randn(2, 4, 3, requires_grad=True)
    quantised, _, _ = quantiser(features)
    weight = torch.randn_like(quantised)
    (quantised * weight).sum().backward()
    assert torch.equal(features.grad, weight)  # type: ignore[arg-type]


def test_the_codebook_has_no_gradient_and_is_stored() -> None:
    quantiser = _quantiser()
    assert not [*quantiser.parameters()]
    assert {*quantiser.state_dict()} == {"codebook", "counts", "sums", "is_started"}


def _clusters(num_each: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    centres = 10 * torch.randn(8, 3, generator=generator)
    noise = 0.05 * torch.randn(8, num_each, 3, generator=generator)
    return centres, (centres[:, None] + noise).reshape(1, -1, 3)


def test_k_means_places_the_codes_on_clusters() -> None:
    centres, features = _clusters()
    quantiser = _quantiser(codebook_size=24)
    quantiser.start(features, torch.Generator().manual_seed(0))
    nearest = torch.cdist(centres, quantiser.codebook).amin(dim=1)
    assert float(nearest.max()) < 0.1
    assert float(quantiser.counts.sum()) == features.shape[1]


def test_the_codebook_is_started_once() -> None:
    _, features = _clusters()
    quantiser = _quantiser()
    quantiser.start(features, torch.Generator().manual_seed(0))
    before = quantiser.codebook.clone()
    quantiser.start(features + 1, torch.Generator().manual_seed(0))
    assert torch.equal(quantiser.codebook, before)


def test_fewer_frames_than_codes_start_a_codebook() -> None:
    quantiser = _quantiser(codebook_size=16)
    features = torch.randn(1, 5, 3)
    quantiser.start(features, torch.Generator().manual_seed(0))
    assert bool(torch.cdist(quantiser.codebook, features[0]).amin(dim=1).max() < 1e-4)


def test_codes_follow_the_frames_that_choose_them() -> None:
    quantiser = _quantiser(dead_below=0.0, decay=0.5)
    with torch.no_grad():
        quantiser.codebook.copy_(torch.arange(24.0).reshape(8, 3))
        quantiser.sums.copy_(quantiser.codebook)
        quantiser.counts.fill_(1.0)
    target = quantiser.codebook[3] + 0.5
    features = target.expand(1, 20, 3)
    for _ in range(30):
        quantiser.learn(features, quantiser.encode(features))
    assert torch.allclose(quantiser.codebook[3], target, atol=1e-3)


def test_dead_codes_are_put_on_frames_and_stay_there() -> None:
    quantiser = _quantiser(dead_below=0.5, decay=0.9)
    features = torch.randn(1, 400, 3, generator=torch.Generator().manual_seed(3)) + 100
    generator = torch.Generator().manual_seed(0)
    quantiser.learn(features, quantiser.encode(features), generator)
    # Revived codes stand where the frames are, so that the next step finds them in use.
    quantiser.learn(features, quantiser.encode(features), generator)
    near = torch.cdist(quantiser.codebook, features[0]).amin(dim=1)
    assert float(near.max()) < 5.0
    assert len(quantiser.encode(features).unique()) == 8


def test_no_code_is_dead_where_the_threshold_is_zero() -> None:
    quantiser = _quantiser(dead_below=0.0)
    features = torch.randn(1, 40, 3) + 100
    before = quantiser.codebook.clone()
    codes = torch.zeros(1, 40, dtype=torch.int64)
    quantiser.learn(features, codes)
    assert torch.equal(quantiser.counts[1:], torch.zeros(7))
    assert float(before.abs().max()) < 10


def test_equal_draws_give_equal_codebooks() -> None:
    _, features = _clusters()
    books = []
    for _ in range(2):
        quantiser = _quantiser(dead_below=100.0)
        generator = torch.Generator().manual_seed(5)
        quantiser.start(features, generator)
        quantiser.learn(features, quantiser.encode(features), generator)
        books.append(quantiser.codebook)
    assert torch.equal(books[0], books[1])


def _learn_in_process(rank: int, folder: str, world: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    _, features = _clusters(num_each=10)
    part = features.chunk(world, dim=1)[rank]
    quantiser = _quantiser(codebook_size=8)
    generator = torch.Generator().manual_seed(0)
    quantiser.start(part, generator)
    quantiser.learn(part, quantiser.encode(part), generator)
    np.save(f"{folder}/{rank}.npy", quantiser.codebook.numpy())
    torch.distributed.destroy_process_group()


def test_two_processes_keep_the_codebook_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_learn_in_process, (str(tmp_path), 2), nprocs=2)
    _, features = _clusters(num_each=10)
    alone = _quantiser(codebook_size=8)
    generator = torch.Generator().manual_seed(0)
    alone.start(features, generator)
    alone.learn(features, alone.encode(features), generator)
    for rank in range(2):
        assert np.allclose(np.load(tmp_path / f"{rank}.npy"), alone.codebook.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("codebook_size", 1), ("width", 0), ("decay", 1.0), ("num_init_steps", 0)],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        QuantiserConfig(**{field: value})  # type: ignore[arg-type]
