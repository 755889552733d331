import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tiny_latents import make_dit
from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.canvas.windows import context_samples, read_window
from weft.codecs import published_folders
from weft.codecs.published import KINDS, PublishedCodec, load_published
from weft.codecs.published_base import LatentStatistics, measure_reach
from weft.codecs.published_folders import find_class, quiet
from weft.codecs.published_networks import (
    AudioLdmMel,
    DacNetwork,
    EncodecNetwork,
    strided_reach,
)
from weft.errors import CheckpointError, ConfigError, MissingDependencyError, ShapeError
from weft.process.gaussian import GaussianProcess
from weft.rng import Rng
from weft.sampling.latent_filler import LatentFiller
from weft.sampling.latent_settings import LatentFillerConfig, LatentSampling
from weft.sampling.steps_gaussian import GaussianSamplerConfig

ALL = sorted(KINDS)
LOCAL = {"oobleck": (2, 4), "dac": (2, 5)}
SCALE = 0.4


def make_models() -> dict[str, nn.Module]:
    """Return the packages' own networks, tiny and random, by kind and part."""
    made = {
        "oobleck/vae": find_class("diffusers", "AutoencoderOobleck")(
            encoder_hidden_size=4,
            downsampling_ratios=[*LOCAL["oobleck"]],
            channel_multiples=[1, 2],
            decoder_channels=4,
            decoder_input_channels=2,
            audio_channels=2,
            sampling_rate=8000,
        ),
        "audioldm/vae": find_class("diffusers", "AutoencoderKL")(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 8),
            latent_channels=2,
            norm_num_groups=2,
            sample_size=64,
            scaling_factor=SCALE,
        ),
    }
    for name, settings in {
        "audioldm/vocoder": {
            "model_in_dim": 64,
            "upsample_initial_channel": 32,
            "upsample_rates": (5, 4, 2, 2, 2),
            "upsample_kernel_sizes": (16, 16, 8, 4, 4),
            "resblock_kernel_sizes": (3,),
            "resblock_dilation_sizes": ((1, 3),),
            "normalize_before": False,
        },
        "encodec": {
            "num_filters": 2,
            "upsampling_ratios": (5, 4),
            "hidden_size": 6,
            "codebook_size": 4,
            "sampling_rate": 8000,
            "target_bandwidths": (1.6,),
        },
        "dac": {
            "encoder_hidden_size": 2,
            "downsampling_ratios": LOCAL["dac"],
            "decoder_hidden_size": 8,
            "n_codebooks": 1,
            "codebook_size": 4,
            "codebook_dim": 2,
            "sampling_rate": 8000,
        },
    }.items():
        parts = {"encodec": "EncodecModel", "dac": "DacModel"}
        network = find_class("transformers", parts.get(name, "SpeechT5HifiGan"))
        made[name] = network(network.config_class(**settings))
    for name in ("dac", "audioldm/vocoder"):  # as made, next to nothing comes out of them
        for value in made[name].parameters():
            if value.ndim == 3:
                nn.init.normal_(value, 0.0, value[0].numel() ** -0.5)
    return made


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {name: model.eval() for name, model in make_models().items()}


@pytest.fixture(scope="session")
def folders(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    for name, model in models.items():
        package = "diffusers" if name.endswith("vae") else "transformers"
        with published_folders.silent(package):
            model.save_pretrained(root / name)
    return root


@pytest.fixture(scope="session")
def codecs(folders: Path) -> dict[str, PublishedCodec]:
    return {kind: load_published(folders / kind) for kind in ALL}


@pytest.fixture(autouse=True)
def _plain(codecs: dict[str, PublishedCodec]) -> None:
    """Each test finds the statistics that are published."""
    for codec in codecs.values():
        codec.set_statistics(codec.network.statistics)


def noise(codec: PublishedCodec, num_samples: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, codec.num_channels, num_samples, generator=generator)


def damaged(folders: Path, kind: str, tmp_path: Path) -> Path:
    """Return a copy of a folder that may be changed."""
    copy = tmp_path / kind
    for path in (folders / kind).rglob("*.*"):
        there = copy / path.relative_to(folders / kind)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())
    return copy


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("kind", ALL)
def test_frames_and_samples_are_as_many_as_a_codec_says(
    codecs: dict[str, PublishedCodec], kind: str
) -> None:
    codec = codecs[kind]
    hop = codec.hop_length
    for num_samples in (1, hop - 1, hop, 3 * hop + 5):
        samples = noise(codec, num_samples, batch=2)
        latents = codec.encode(samples)
        num_frames = -(-num_samples // hop)
        assert latents.shape == (2, num_frames, codec.num_features)
        assert codec.decode(latents).shape == (2, codec.num_channels, num_frames * hop)
        assert latents.isfinite().all()
        assert torch.equal(latents, codec.encode(samples))


def test_facts_come_from_the_settings(codecs: dict[str, PublishedCodec]) -> None:
    facts = {
        kind: (c.sample_rate, c.hop_length, c.num_features, c.num_channels, c.is_local)
        for kind, c in codecs.items()
    }
    assert facts == {
        "audioldm": (16000, 640, 32, 1, False),
        "dac": (8000, 10, 8, 1, True),
        "encodec": (8000, 20, 6, 1, False),
        "oobleck": (8000, 8, 2, 2, True),
    }
    assert all(codec.is_differentiable for codec in codecs.values())


@torch.no_grad()
def test_oobleck_is_that_of_diffusers(
    codecs: dict[str, PublishedCodec], models: dict[str, Any]
) -> None:
    codec, model = codecs["oobleck"], models["oobleck/vae"]
    samples = noise(codec, 30 * 8 - 3, batch=2)
    padded = nn.functional.pad(samples, (0, 3))
    theirs = model.encode(padded).latent_dist.mode()
    latents = codec.encode(samples)
    torch.testing.assert_close(latents, theirs.transpose(1, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        codec.decode(latents), model.decode(theirs).sample, rtol=0, atol=1e-6
    )


@torch.no_grad()
def test_dac_is_that_of_transformers_before_its_codebooks(
    codecs: dict[str, PublishedCodec], models: dict[str, Any]
) -> None:
    codec, model = codecs["dac"], models["dac"]
    samples = noise(codec, 400, batch=2)
    theirs = model.encoder(samples)
    latents = codec.encode(samples)
    torch.testing.assert_close(latents, theirs.transpose(1, 2), rtol=0, atol=1e-6)
    decoded, sound = codec.decode(latents), model.decoder(theirs)
    assert sound.shape[2] == 398  # an odd stride: a little less than whole frames
    torch.testing.assert_close(decoded[:, :, :398], sound, rtol=0, atol=1e-6)
    assert not decoded[:, :, 398:].any()


@torch.no_grad()
def test_encodec_is_that_of_transformers_before_its_codebooks(
    codecs: dict[str, PublishedCodec], models: dict[str, Any]
) -> None:
    codec, model = codecs["encodec"], models["encodec"]
    samples = noise(codec, 413, batch=2)  # its own padding, not silence, ends the last frame
    theirs = model.encoder(samples)
    latents = codec.encode(samples)
    torch.testing.assert_close(latents, theirs.transpose(1, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(codec.decode(latents), model.decoder(theirs), rtol=0, atol=1e-6)


def their_mel(samples: np.ndarray) -> np.ndarray:
    """Return log-mel frames by transformers, in float64."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    filters = mel_filter_bank(513, 64, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    found = spectrogram(
        samples,
        window_function(1024, "hann"),
        frame_length=1024,
        hop_length=160,
        power=1.0,
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel=None,
    )
    return np.log(found)


def test_mel_frames_are_those_of_audioldm() -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000)
    samples[8000:] = 0.0  # the floor counts too
    ours = AudioLdmMel(64, 160)(torch.from_numpy(samples[None]).float())[0].numpy()
    theirs = their_mel(samples)
    assert theirs.shape == (64, 101)
    assert ours.shape == (100, 64)
    np.testing.assert_allclose(ours, theirs.T[:100], atol=2e-4)
    assert ours.min() == pytest.approx(np.log(1e-5))


def test_mel_frames_keep_the_level_beyond_full_scale() -> None:
    loud = 3.0 * np.random.default_rng(0).standard_normal(3200) + 0.5
    ours = AudioLdmMel(64, 160)(torch.from_numpy(loud[None]).float())[0].numpy()
    np.testing.assert_allclose(ours, their_mel(loud).T[:20], atol=2e-4)


@torch.no_grad()
def test_audioldm_is_its_two_networks_around_mel_frames(
    codecs: dict[str, PublishedCodec], models: dict[str, Any]
) -> None:
    codec, vae, vocoder = codecs["audioldm"], models["audioldm/vae"], models["audioldm/vocoder"]
    samples = noise(codec, 6 * 640 - 100)
    padded = nn.functional.pad(samples, (0, 100))[0, 0].double().numpy()
    mel = torch.from_numpy(their_mel(padded).T[:24].copy()).float()
    theirs = vae.encode(mel[None, None]).latent_dist.mode()  # b z l f
    latents = codec.encode(samples)
    boxes = latents.reshape(1, 6, 2, 16).transpose(1, 2)
    torch.testing.assert_close(boxes, SCALE * theirs, rtol=0, atol=2e-4)
    sound = vocoder(vae.decode(boxes / SCALE).sample[:, 0])
    assert sound.shape[1] > 6 * 640
    torch.testing.assert_close(codec.decode(latents)[:, 0], sound[:, : 6 * 640], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(LOCAL))
def test_the_reach_is_exactly_that_of_the_convolutions(folders: Path, kind: str) -> None:
    codec = load_published(folders / kind)
    measured = measure_reach(codec.network.double(), num_frames=65, tolerance=1e-14)
    assert measured == codec.reach_frames < 32


def test_strides_that_do_not_shorten_are_refused() -> None:
    settings = {"encoder_hidden_size": 2, "downsampling_ratios": (1, 4), "decoder_hidden_size": 8}
    network = find_class("transformers", "DacModel")
    with pytest.raises(CheckpointError, match="strides must be at least 2"):
        DacNetwork(network(network.config_class(**settings)))


def test_published_sizes_reach_half_a_second_at_most() -> None:
    reached = {s: strided_reach(s, int(np.prod(s))) for s in [(2, 4, 4, 8, 8), (2, 4, 8, 8)]}
    assert reached == {(2, 4, 4, 8, 8): 10, (2, 4, 8, 8): 10}


@pytest.mark.parametrize("kind", ["audioldm", "encodec"])
def test_where_all_is_heard_the_reach_is_measured(
    codecs: dict[str, PublishedCodec], kind: str
) -> None:
    codec = codecs[kind]
    network = codec.network
    wide = measure_reach(network, num_frames=41, tolerance=0.0)
    assert wide == 20  # all that there is
    if kind == "encodec":  # random weights of the other are loud everywhere
        assert 1 <= measure_reach(network, num_frames=41, tolerance=0.01) < 20
    assert not codec.is_local
    codec._reach = 7  # measured once, then kept
    assert codec.reach_frames == 7
    codec._reach = None


@pytest.mark.parametrize("kind", ALL)
def test_gradients_flow_through_both_ways(codecs: dict[str, PublishedCodec], kind: str) -> None:
    codec = codecs[kind]
    samples = noise(codec, 8 * codec.hop_length)
    samples[:, :, : 4 * codec.hop_length] = 0.0  # silence has gradients too, and no NaN
    samples.requires_grad_(True)
    latents = codec.encode(samples)
    assert not any(value.requires_grad for value in codec.parameters())
    (slope,) = torch.autograd.grad(latents.square().sum(), samples)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0
    leaf = latents.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(codec.decode(leaf).square().sum(), leaf)
    assert slope.isfinite().all()
    assert (slope.abs().amax(dim=2) > 0).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ALL)
def test_autocast_changes_nothing(codecs: dict[str, PublishedCodec], kind: str) -> None:
    codec = codecs[kind]
    samples = noise(codec, 4 * codec.hop_length)
    latents = codec.encode(samples)
    sound = codec.decode(latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(codec.encode(samples), latents)
        assert torch.equal(codec.decode(latents), sound)
    assert latents.dtype == sound.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("kind", ["oobleck", "audioldm"])
def test_fitted_latents_have_mean_0_and_variance_1(
    codecs: dict[str, PublishedCodec], kind: str
) -> None:
    codec = codecs[kind]
    sounds = [noise(codec, 8 * codec.hop_length, batch=2, seed=i) + 0.05 * i for i in range(3)]
    plain = codec.decode(codec.encode(sounds[1]))
    found = codec.fit_statistics(iter(sounds))
    flat = torch.cat([codec.encode(sound) for sound in sounds]).flatten(0, 1)
    torch.testing.assert_close(flat.mean(dim=0), torch.zeros(flat.shape[1]), rtol=0, atol=1e-4)
    variance = flat.var(dim=0, correction=0)
    torch.testing.assert_close(variance, torch.ones(flat.shape[1]), rtol=1e-3, atol=0)
    again = codec.decode(codec.encode(sounds[1]))
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-5)  # both ways
    assert codec.statistics == found


def test_statistics_are_given_by_the_folder_a_factor_or_a_table(folders: Path) -> None:
    ldm = load_published(folders / "audioldm")
    np.testing.assert_allclose(ldm.statistics.variance, SCALE**-2, rtol=1e-6)
    scaled = load_published(folders / "dac", statistics=0.5)
    assert set(scaled.statistics.variance) == {4.0}
    table = LatentStatistics(mean=(0.5, -1.0), variance=(0.25, 9.0))
    own = load_published(folders / "oobleck", statistics=table)
    assert own.statistics == table == LatentStatistics.from_json(table.to_json())
    samples = noise(own, 80)
    raw = own.network.encode(samples)
    expected = (raw - torch.tensor([0.5, -1.0])) / torch.tensor([0.5, 3.0])
    torch.testing.assert_close(own.encode(samples), expected)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: LatentStatistics(mean=(0.0,), variance=()), "same 1 to"),
        (lambda c: LatentStatistics(mean=(0.0,), variance=(0.0,)), "variance must be in"),
        (lambda c: LatentStatistics(mean=(float("nan"),), variance=(1.0,)), "mean must be finite"),
        (lambda c: LatentStatistics.from_scale(0.0, 2), "scale factor"),
        (lambda c: LatentStatistics.from_json({"mean": [0.0]}), "two lists of numbers"),
        (lambda c: LatentStatistics.from_json({"mean": ["a"], "variance": [1]}), "two lists"),
        (lambda c: c.set_statistics(LatentStatistics.from_scale(1.0, 3)), "2 features"),
        (lambda c: c.fit_statistics([]), "two frames"),
        (lambda c: c.fit_statistics([torch.zeros(1, 2, 8)]), "two frames"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(
    codecs: dict[str, PublishedCodec], make: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make(codecs["oobleck"])


def test_sound_and_latents_of_another_shape_are_refused(codecs: dict[str, PublishedCodec]) -> None:
    codec = codecs["oobleck"]
    for shape in [(1, 1, 80), (1, 2, 0)]:
        with pytest.raises(ShapeError, match="2 channels"):
            codec.encode(torch.zeros(shape))
    for shape in [(1, 0, 2), (1, 4, 3)]:
        with pytest.raises(ShapeError, match="2 features"):
            codec.decode(torch.zeros(shape))


def test_a_folder_of_a_pipeline_or_of_the_codec_alone_is_loaded(
    folders: Path, codecs: dict[str, PublishedCodec]
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    alone = load_published(str(folders / "oobleck" / "vae"), kind="oobleck")
    assert torch.equal(torch.get_rng_state(), before)  # no one's draws are disturbed
    samples = noise(alone, 80)
    assert torch.equal(alone.encode(samples), codecs["oobleck"].encode(samples))
    assert not alone.training


def test_a_vocoder_may_be_called_hifigan(folders: Path, tmp_path: Path) -> None:
    copy = damaged(folders, "audioldm", tmp_path)
    change(copy / "vocoder" / "config.json", model_type="hifigan")  # as AudioLDM's is
    assert load_published(copy).sample_rate == 16000


def test_the_hop_of_dac_is_the_product_of_its_strides(folders: Path, tmp_path: Path) -> None:
    copy = damaged(folders, "dac", tmp_path)
    change(copy / "config.json", hop_length=512)  # as what is published at 24 kHz says
    codec = load_published(copy)
    assert codec.hop_length == 10
    assert codec.decode(codec.encode(noise(codec, 100))).shape == (1, 1, 100)


def test_a_model_in_the_cache_of_the_hub_needs_no_network(
    folders: Path, tmp_path: Path, codecs: dict[str, PublishedCodec]
) -> None:
    home = tmp_path / "models--someone--codec"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    damaged(folders, "oobleck", home / "snapshots").rename(home / "snapshots" / ("0" * 40))
    found = load_published("someone/codec", cache=tmp_path)
    samples = noise(found, 80)
    assert torch.equal(found.encode(samples), codecs["oobleck"].encode(samples))
    (home / "snapshots" / ("0" * 40) / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="allow_download=True"):
        load_published("someone/codec", cache=tmp_path)
    with pytest.raises(CheckpointError, match="not in the cache.*allow_download=True"):
        load_published("someone/else", cache=tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor"):
        load_published(tmp_path / "nowhere")


def test_another_kind_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="audioldm, dac, encodec, oobleck"):
        load_published(folders / "dac", kind="mp3")
    with pytest.raises(CheckpointError, match="type \\['dac'\\], and no codec of kind encodec"):
        load_published(folders / "dac", kind="encodec")
    with pytest.raises(CheckpointError, match="no config.json"):
        load_published(tmp_path)
    with pytest.raises(CheckpointError, match="describes 'AutoencoderKL', not 'speecht5"):
        load_published(folders / "audioldm" / "vae")
    seconds = damaged(folders, "encodec", tmp_path)
    change(seconds / "config.json", normalize=True, chunk_length_s=1.0, overlap=0.01)
    with pytest.raises(CheckpointError, match="loudness of each"):
        load_published(seconds)


def test_a_pickle_is_refused_with_what_to_do(folders: Path, tmp_path: Path) -> None:
    copy = damaged(folders, "encodec", tmp_path)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle, pytorch_model.bin.*weft models convert"):
        load_published(copy)


@pytest.mark.parametrize(
    ("kind", "change_it", "said"),
    [
        ("dac", {"config.json": b"{"}, "cannot be read as JSON"),
        ("dac", {"config.json": b"[]"}, "no object of JSON"),
        ("dac", {"model.safetensors": b"\0" * 64}, "model.safetensors"),
        ("dac", {"model.safetensors": None}, "holds no model.safetensors"),
        ("dac", {"decoder_hidden_size": 10**12}, "impossible size"),
        ("dac", {"downsampling_ratios": [2] * 65}, "a list of 65"),
        ("encodec", {"num_lstm_layers": 1000}, "num_lstm_layers has the impossible size"),
        ("dac", {"encoder_hidden_size": 40000}, "is damaged: config.json describes"),
        ("oobleck", {"decoder_channels": 60000}, "is damaged: config.json describes"),
        ("dac", {"codebook_size": 2}, "cannot be loaded|does not fit"),
        ("oobleck", {"audio_channels": "two"}, "cannot be loaded"),
        ("audioldm", {"scaling_factor": 0}, "scale factor"),
    ],
)
def test_damaged_folders_are_refused(
    folders: Path, tmp_path: Path, kind: str, change_it: dict[str, Any], said: str
) -> None:
    copy = damaged(folders, kind, tmp_path)
    place = copy / "vae" if (copy / "vae").is_dir() else copy
    for name, value in change_it.items():
        if value is None:
            (place / name).unlink()
        elif isinstance(value, bytes):
            (place / name).write_bytes(value)
        else:
            change(place / "config.json", **{name: value})
    error = ConfigError if "scale" in said else CheckpointError
    with pytest.raises(error, match=said):
        load_published(copy)


@pytest.mark.parametrize("what", ["nan", "missing"])
def test_weights_that_are_not_whole_are_refused(folders: Path, tmp_path: Path, what: str) -> None:
    from safetensors.torch import load_file, save_file

    copy = damaged(folders, "dac", tmp_path)
    tensors = load_file(copy / "model.safetensors")
    if what == "nan":
        tensors["decoder.conv1.weight"][0, 0, 0] = float("nan")
    else:  # as many numbers, under another name
        tensors["other"] = tensors.pop("decoder.conv1.weight")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    said = "NaN|finite" if what == "nan" else "missing keys such as decoder.conv1.weight"
    with pytest.raises(CheckpointError, match=said):
        load_published(copy)


@pytest.mark.parametrize(("kind", "package"), [("oobleck", "diffusers"), ("dac", "transformers")])
def test_a_package_that_is_not_there_is_named(
    folders: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingDependencyError, match=f"{package}: pip install 'weft\\[published\\]'"
    ):
        load_published(folders / kind)


def test_importing_the_codecs_imports_none_of_the_packages() -> None:
    code = (
        "import sys, weft.codecs.published as p; assert p.KINDS; "
        "assert not {'diffusers', 'transformers', 'huggingface_hub'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["dac", "encodec"])
def test_a_gap_is_filled_through_a_published_codec(
    codecs: dict[str, PublishedCodec], kind: str
) -> None:
    codec = codecs[kind]
    rate = codec.sample_rate
    codec.fit_statistics([noise(codec, rate)])
    filler = LatentFiller(
        codec,
        make_dit(codec.num_features, spread=0.1),
        GaussianProcess(prediction="x0"),
        sampling=LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=2)),
        config=LatentFillerConfig(
            draft="none",
            search_ms=500.0,
            window_ms=300.0,
            long_window_ms=400.0,
            long_gap_ms=100.0,
            max_gap_ms=200.0,
            num_candidates=2,
        ),
    )
    audio = Audio.from_samples(noise(codec, rate)[0].double().numpy(), rate)
    gap = Region(start=3000, stop=3400)
    context = context_samples(filler, gap, rate, num_channels=1)
    window = read_window(audio, gap, [], context)
    (takes,) = filler.fill([window], num_takes=2, rng=Rng(0))
    (again,) = filler.fill([window], num_takes=2, rng=Rng(0))
    assert [take.samples.shape for take in takes] == [(1, 400), (1, 400)]
    for take, same in zip(takes, again, strict=True):
        assert np.isfinite(take.samples).all()
        assert np.array_equal(take.samples, same.samples)
        assert 0 < np.abs(take.samples).max() < 1
        assert take.details["network_calls"] == 2.0
    assert not np.array_equal(takes[0].samples, takes[1].samples)


def test_a_codec_of_two_channels_is_refused_by_the_filler(
    codecs: dict[str, PublishedCodec],
) -> None:
    codec = codecs["oobleck"]
    with pytest.raises(ConfigError, match="2 channels together"):
        LatentFiller(codec, make_dit(codec.num_features), GaussianProcess(prediction="x0"))


def test_the_network_of_encodec_has_no_reach(codecs: dict[str, PublishedCodec]) -> None:
    network = codecs["encodec"].network
    assert isinstance(network, EncodecNetwork)
    assert network.reach_frames is None
