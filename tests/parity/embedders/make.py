"""Make the fixtures of this folder from the published code; see README.md.

Run by hand, never by tests: ``python make.py FOLDER``, where FOLDER holds the unpacked packages
that README.md lists.
"""

import importlib.util
import sys
import types
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
VERSION = 1


def stub(name: str, **members: object) -> types.ModuleType:
    """A module that stands for one the reference imports and does not need here."""
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


def load(name: str, path: Path) -> types.ModuleType:
    """A module from its file, without the package around it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def table(module: object) -> np.ndarray:
    """Names and shapes of a network's tensors."""
    state = module.state_dict()
    return np.array([f"{k} {'x'.join(map(str, v.shape))}" for k, v in state.items()])


def fill(module: object, keep: tuple[str, ...] = ()) -> None:
    """Give a network the weights of its names."""
    import torch
    from material import weights

    state = module.state_dict()
    made = weights({k: tuple(v.shape) for k, v in state.items() if not k.startswith(keep)})
    state.update({k: torch.from_numpy(v) for k, v in made.items()})
    module.load_state_dict(state)
    module.eval()


def vggish(folder: Path) -> dict[str, np.ndarray]:
    """torchvggish: examples, and a narrow network before its last ReLU."""
    import torch
    from material import sound
    from torch import nn

    stub("resampy")
    package = folder / "torchvggish-0.2" / "torchvggish"
    stub("torchvggish").__path__ = [str(package)]
    inputs = load("torchvggish.vggish_input", package / "vggish_input.py")
    network = load("torchvggish.torchvggish", package / "torchvggish.py")
    full = network.VGG(network.make_layers(), False)
    examples = inputs.waveform_to_examples(sound(16000, 2.2), 16000).detach()
    narrow = network.VGG(network.make_layers(), False)
    narrow.embeddings = nn.Sequential(
        nn.Linear(512 * 24, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 128),
        nn.ReLU(),
    )  # fmt: skip
    fill(narrow)
    with torch.inference_mode():
        with_relu = narrow(examples)
        narrow.embeddings = narrow.embeddings[:-1]
        vectors = narrow(examples)
    return {
        "tensors": table(full),
        "log_mel": examples[:, 0, ::6, ::3].numpy(),
        "vectors": vectors.numpy(),
        "relu": with_relu.numpy(),
    }


def panns(folder: Path) -> dict[str, np.ndarray]:
    """panns_inference (32 kHz) and frechet_audio_distance (8 and 16 kHz): narrow CNN14s."""
    import torch
    from material import sound
    from torch import nn

    for name in ("matplotlib", "matplotlib.pyplot"):
        stub(name)
    stub("panns_inference").__path__ = [str(folder / "panns_inference")]
    stub("fad_models").__path__ = [str(folder / "frechet_audio_distance" / "models")]
    wide = load("panns_inference.models", folder / "panns_inference" / "models.py")
    other = load("fad_models.pann", folder / "frechet_audio_distance" / "models" / "pann.py")
    made = {}
    for label, kind, blocks, settings in (
        ("8k", other.Cnn14_8k, other, (8000, 256, 80, 64, 50, 4000, 527)),
        ("16k", other.Cnn14_16k, other, (16000, 512, 160, 64, 50, 8000, 527)),
        ("32k", wide.Cnn14, wide, (32000, 1024, 320, 64, 50, 14000, 527)),
    ):
        model = kind(*settings)
        made[f"tensors_{label}"] = table(model)
        inputs = 1
        for i in range(6):
            setattr(model, f"conv_block{i + 1}", blocks.ConvBlock(inputs, 4 * 2**i))
            inputs = 4 * 2**i
        model.fc1, model.fc_audioset = nn.Linear(128, 128), nn.Linear(128, 527)
        fill(model, keep=("logmel_extractor", "spectrogram_extractor"))
        logits = []
        model.fc_audioset.register_forward_hook(lambda m, i, o, kept=logits: kept.append(o))
        x = torch.from_numpy(sound(settings[0], 1.3)[None]).float()
        with torch.inference_mode():
            out = model(x)
            spectra = model.logmel_extractor(model.spectrogram_extractor(x))
        made[f"log_mel_{label}"] = spectra[0, 0, ::6, ::3].numpy()
        made[f"vectors_{label}"] = out["embedding"].numpy()
        made[f"clipwise_{label}"] = out["clipwise_output"].numpy()
        made[f"logits_{label}"] = logits[0].numpy()
        made[f"filters_{label}"] = model.logmel_extractor.melW.detach().numpy()[::5]
    return made


def passt(folder: Path) -> dict[str, np.ndarray]:
    """hear21passt with the mel filters of torchaudio: spectra, and a narrow network."""
    import torch
    from material import sound

    audio = stub("torchaudio", transforms=types.SimpleNamespace())
    identity = lambda *a, **k: torch.nn.Identity()  # noqa: E731
    audio.transforms.FrequencyMasking = audio.transforms.TimeMasking = identity
    kaldi = load("torchaudio_kaldi", folder / "torchaudio" / "compliance" / "kaldi.py")
    audio.compliance = types.SimpleNamespace(kaldi=kaldi)
    for name in ("timm", "timm.models", "timm.models._hub"):
        stub(name, download_cached_file=None).__path__ = []
    stft = torch.stft
    torch.stft = lambda *a, **k: torch.view_as_real(stft(*a, **{**k, "return_complex": True}))
    stub("hear21passt").__path__ = [str(folder / "hear21passt")]
    from hear21passt.models import passt as networks
    from hear21passt.models.preprocess import AugmentMelSTFT
    from hear21passt.wrapper import PasstBasicWrapper

    networks.first_RUN = False
    shape = {
        "img_size": (128, 998), "stride": (10, 10), "patch_size": 16, "distilled": True,
        "num_classes": 527,
    }  # fmt: skip
    mel = AugmentMelSTFT(
        n_mels=128, sr=32000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
        htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
    )  # fmt: skip
    full = networks.PaSST(embed_dim=768, depth=12, num_heads=12, **shape)
    net = networks.PaSST(embed_dim=96, depth=2, num_heads=3, **shape)
    fill(net)
    wrapper = PasstBasicWrapper(mel=mel, net=net, mode="all").eval()
    made = {"tensors": table(full)}
    for label, seconds in (("10s", 10.0), ("3s", 3.0)):
        x = torch.from_numpy(sound(32000, seconds)[None]).float()
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = wrapper(x)
            spectra = mel(x)
        made[f"log_mel_{label}"] = spectra[0, ::5, ::40].numpy()
        made[f"logits_{label}"] = out[:, :527].numpy()
        made[f"vectors_{label}"] = out[:, 527:].numpy()
    return made


def laion(folder: Path) -> dict[str, np.ndarray]:
    """laion_clap: names of the original checkpoints, and a narrow network for sound and text."""
    import torch
    from material import sound
    from torch import nn
    from transformers import RobertaConfig, RobertaModel

    absent = ("torchvision", "torchvision.ops", "torchvision.ops.misc", "h5py", "tqdm")
    for name in absent:
        stub(name, FrozenBatchNorm2d=None, tqdm=None).__path__ = []
    package = folder / "laion_clap" / "clap_module"
    stub("clap_module").__path__ = [str(package)]
    networks = load("clap_module.model", package / "model.py")
    text = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    narrow_text = {
        "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64,
    }  # fmt: skip

    def clap(size: str, dims: int, **settings: int) -> nn.Module:
        config = RobertaConfig(**{"vocab_size": 50265, **text, **settings})
        networks.RobertaModel.from_pretrained = lambda name: RobertaModel(config)
        audio = {
            "model_type": "HTSAT", "model_name": size, "sample_rate": 48000, "audio_length": 1024,
            "window_size": 1024, "hop_size": 480, "fmin": 50, "fmax": 14000, "class_num": 527,
            "mel_bins": 64, "clip_samples": 480000,
        }  # fmt: skip
        words = {
            "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12,
            "model_type": "roberta",
        }  # fmt: skip
        return networks.CLAP(dims, audio, words)

    made = {"tensors_clap-audio": table(clap("tiny", 768))}
    made["tensors_clap-music"] = table(clap("base", 1024))
    kind = networks.create_htsat_model.__globals__["HTSAT_Swin_Transformer"]
    networks.create_htsat_model = lambda config, *rest: kind(
        spec_size=256, patch_size=4, patch_stride=(4, 4), num_classes=527, embed_dim=16,
        depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=8, config=config,
    )  # fmt: skip
    model = clap("tiny", 128, **narrow_text)
    model.text_projection[0] = nn.Linear(32, 512)
    indices = tuple(k for k in model.state_dict() if k.endswith(("_index", "_ids", "attn_mask")))
    front = ("audio_branch.logmel_extractor", "audio_branch.spectrogram_extractor")
    fill(model, keep=(*indices, *front))
    made["tensors_narrow"] = table(model)
    clip = torch.from_numpy(sound(48000, 10.0)).float()
    tokens = {
        "input_ids": torch.tensor([[0, 5, 250, 17, 2, 1, 1], [0, 9, 8, 7, 6, 5, 2]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]]),
    }
    with torch.inference_mode():
        made["sound"] = model.get_audio_embedding([{"waveform": clip}]).numpy()
        made["text"] = model.get_text_embedding(tokens).numpy()
    return made


def main() -> None:
    """Write one fixture for each network."""
    folder = Path(sys.argv[1])
    sys.path[:0] = [str(HERE), str(folder)]
    for maker in (laion, vggish, panns, passt):
        made = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in
                maker(folder).items()}  # fmt: skip
        np.savez_compressed(HERE / f"{maker.__name__}.npz", version=VERSION, **made)
        print(maker.__name__, {k: v.shape for k, v in made.items()})


if __name__ == "__main__":
    main()
