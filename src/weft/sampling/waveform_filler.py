"""Filling gaps sample by sample: an unconditional network, a Gaussian process, and guidance.

Nothing is encoded: what the process corrupts are the samples themselves, at the network's rate. The
network was never told of gaps; what is known enters while sampling.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.joining import join_edges
from weft.errors import ConfigError
from weft.nn.cqt_unet import CqtUnet
from weft.nn.unet1d import WaveformUnet
from weft.process.gaussian import GaussianProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.consistency import Measurement
from weft.sampling.fallback import predict_linearly
from weft.sampling.fill_gaussian import fill_gaussian
from weft.sampling.frame_sound import FramedWindow, FrameSound
from weft.sampling.guidance import GuidanceConfig, ReconstructionLoss, Weighted
from weft.sampling.measure import Operator, TimeMask
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_settings import WaveformFillerConfig
from weft.takes import score_take

_SURE_DB = 20.0  # a fit that is worse by so much is trusted a tenth as much

WaveformNetwork: TypeAlias = WaveformUnet | CqtUnet
_Key: TypeAlias = tuple[int, int, int]
"""Number of the window, of the take, and of the group of parts."""


@final
@dataclass(frozen=True, kw_only=True)
class _Group:
    """Parts that go through the network together, as many as it has channels."""

    x: Float[Tensor, "n d"]
    """Of variance 1; zeros where unknown."""
    known: Bool[Tensor, " n"]
    """True where a sample is observed; nothing is, beyond the recording's ends."""
    draft: Float[Tensor, "n d"] | None
    """What may stand where nothing is known."""
    parts: tuple[int, ...]
    """Numbers of the parts; the last channel is left out where it is the one before again."""
    gain: float
    """What the parts were multiplied by, > 0."""


@final
@dataclass(frozen=True, kw_only=True)
class _Framed:
    """A window at the network's rate, ready to be filled."""

    framed: FramedWindow
    groups: tuple[_Group, ...]
    drafted: Float[np.ndarray, "p m"] | None

    @property
    def strength(self) -> float:
        """How far from the draft; 1 where there is none."""
        given = self.framed.window.draft_strength
        return 1.0 if given is None else given


@final
@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """A filled sequence, and what it took."""

    x: Float[np.ndarray, "n d"]
    num_calls: int


@final
@dataclass(frozen=True, kw_only=True)
class SoftTimeMask(Operator):
    """Samples measured as they are, but for a fade beside the unknown.

    What is put back rises from the estimate to what is known, over ``num_edge`` known samples, as
    half of a Hann window. So it is no projection: within the fade, sound is only drawn nearer.

    Source: CQT-Diff+ (Moliner & Valimaki 2023), data consistency with a smoothed mask.
    """

    known: Bool[Tensor, "b l"]
    """True where a sample is observed."""
    num_edge: int
    """Length of a fade, in samples, >= 0."""

    def apply(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return torch.where(self.known[..., None], x, 0.0)

    def project(
        self, x: Float[Tensor, "b l d"], y: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        weight = self._weight().to(x)[..., None]
        return (x + weight * (y.to(x) - x)).detach()

    def _weight(self) -> Float[Tensor, "b l"]:
        known = self.known.cpu().numpy()
        distance = np.stack(
            [
                np.full(len(row), np.inf) if row.all() else distance_transform_edt(row)
                for row in known
            ]
        )
        share = np.clip(distance / (self.num_edge + 1), 0, 1)
        return torch.from_numpy(np.sin(np.pi / 2 * share) ** 2)


@final
class WaveformFiller(Filler):
    """Fills gaps by sampling the sound itself, guided by what is known on both sides.

    Source: seed 001, waveform model; with `weft.nn.cqt_unet`, the baseline it is compared with.
    Differs: rate and channels of the recording are kept; each part of the channels is brought to
    variance 1; the fill is joined inside the gap.
    """

    def __init__(
        self,
        network: WaveformNetwork,
        *,
        sample_rate: int,
        process: GaussianProcess | None = None,
        sampler: GaussianSamplerConfig | None = None,
        guidance: GuidanceConfig | None = None,
        config: WaveformFillerConfig | None = None,
        name: str = "waveform",
    ) -> None:
        """Put the parts together; the network stays where it is, in eval mode.

        Args:
            network: unconditional.
            sample_rate: that it was trained at, in Hz.
            process: that it was trained for.
            sampler: which steps are taken.
            guidance: how what is known enters; the paper's step size for samples unless given.
            config: everything else.
            name: in tables, receipts and on the command line.

        Raises:
            ConfigError: an edge is asked for without consistency of the estimate.
        """
        self.network = network.eval().requires_grad_(False)
        self.sample_rate = sample_rate
        self.process = process or GaussianProcess()
        self.sampler = sampler or GaussianSamplerConfig()
        self.guidance = guidance or GuidanceConfig(step_size=3e-3)
        self.config = config or WaveformFillerConfig()
        if self.config.edge_samples and self.guidance.consistency != "x0":
            raise ConfigError(
                f"edge_samples is {self.config.edge_samples}, but consistency is "
                f"{self.guidance.consistency!r}; an edge needs consistency x0"
            )
        self._name = name
        self._num_channels = network.config.num_channels
        self._num_samples = network.num_samples
        self._sound = FrameSound(
            sample_rate=sample_rate,
            hop_length=1,
            config=self.config.to_frames(num_channels=self._num_channels),
        )
        self._device = next(network.parameters()).device

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_gap_ms(self) -> float | None:
        """What leaves enough context: `WaveformFillerConfig.max_gap_share` of a sequence."""
        return 1000 * int(self.config.max_gap_share * self._num_samples) / self.sample_rate

    @property
    def num_parameters(self) -> int:
        return sum(value.numel() for value in self.network.parameters())

    @property
    def max_hz(self) -> float | None:
        return self.sample_rate / 2

    @property
    def uses_draft(self) -> bool:
        return True

    @property
    def can_generate(self) -> bool:
        return True

    def context_ms(self, gap_ms: float) -> float:
        """Return the length of a sequence: at an end of the recording all is on one side."""
        return 1000 * self._num_samples / self.sample_rate

    def with_steps(self, num_steps: int) -> "WaveformFiller":
        """Return this filler with another number of sampling steps, >= 1."""
        return WaveformFiller(
            self.network,
            sample_rate=self.sample_rate,
            process=self.process,
            sampler=replace(self.sampler, steps=num_steps),
            guidance=self.guidance,
            config=self.config,
            name=self.name,
        )

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Draw samples for all windows together; see `Filler.fill`.

        Beside silence, the fill is linear prediction's, with next to no confidence.
        """
        found = {i: item for i, w in enumerate(windows) if (item := self._frame(w)) is not None}
        num_drawn = max(num_takes, self.config.num_candidates)
        drawn = self._draw(found, num_drawn, rng)
        fills: list[list[Fill]] = []
        for i, window in enumerate(windows):
            if i not in found:
                fills.append([predict_linearly(window, rng, model=self.name, what="a network")])
                continue
            numbers = range(len(found[i].groups))
            takes = [
                self._render(found[i], [drawn[i, take, k] for k in numbers])
                for take in range(num_drawn)
            ]
            order = sorted(range(num_drawn), key=lambda j: (-takes[j].confidence, j))
            fills.append([takes[j] for j in order[:num_takes]])
        return fills

    def _frame(self, window: Window) -> _Framed | None:
        """Cut the stretch that the network hears out of a window; None beside silence."""
        framed = self._sound.frame(window, self._num_samples, can_be_empty=True)
        if framed is None:
            return None
        drafted = None if window.draft is None else self._sound.drafted(framed, window.draft)
        size = self._num_channels
        starts = range(0, len(framed.parts), size)
        groups = tuple(self._group(framed, drafted, start, size) for start in starts)
        return _Framed(framed=framed, groups=groups, drafted=drafted)

    def _group(
        self,
        framed: FramedWindow,
        drafted: Float[np.ndarray, "p m"] | None,
        first: int,
        size: int,
    ) -> _Group:
        """Put parts side by side, at one gain; the last one twice where there are too few."""
        numbers = range(first, min(first + size, len(framed.parts)))
        chosen = [*numbers] + [numbers[-1]] * (size - len(numbers))
        gain = float(np.mean([framed.parts[k].gain ** -2 for k in chosen]) ** -0.5)
        if drafted is None and not framed.window.known.any():
            gain = 10 ** (-self.config.empty_level_db / 20)
        layout = framed.layout
        first_sample, stop_sample = layout.span(0, layout.num_frames)
        missing = max(0, self._num_samples - layout.num_frames)

        def cut(signals: Float[np.ndarray, "p m"]) -> Float[Tensor, "n d"]:
            own = gain * signals[chosen, first_sample:stop_sample].T
            return torch.from_numpy(np.pad(own, ((0, missing), (0, 0)))).float().to(self._device)

        known = torch.from_numpy(np.pad(layout.known, (0, missing))).to(self._device)
        return _Group(
            x=torch.where(known[:, None], cut(framed.signals), 0.0),
            known=known,
            draft=None if drafted is None else cut(drafted),
            parts=tuple(numbers),
            gain=gain,
        )

    def _draw(self, found: Mapping[int, _Framed], num_takes: int, rng: Rng) -> dict[_Key, _Drawn]:
        """Fill all sequences, those of one length and one strength together."""
        alike: dict[tuple[int, float], list[_Key]] = defaultdict(list)
        for i, item in found.items():
            for take in range(num_takes):
                for k, group in enumerate(item.groups):
                    alike[len(group.x), item.strength].append((i, take, k))
        drawn: dict[_Key, _Drawn] = {}
        size = self.config.batch_size
        for (_, strength), members in alike.items():
            for keys in (members[i : i + size] for i in range(0, len(members), size)):
                drawn |= zip(keys, self._draw_batch(found, keys, strength, rng), strict=True)
        return drawn

    def _draw_batch(
        self, found: Mapping[int, _Framed], keys: Sequence[_Key], strength: float, rng: Rng
    ) -> Iterator[_Drawn]:
        """Yield the filled sequence of each key."""
        groups = [found[i].groups[k] for i, _, k in keys]
        x = torch.stack([group.x for group in groups])
        known = torch.stack([group.known for group in groups])
        drafts = [group.draft for group in groups if group.draft is not None]
        starts = [_start_of_gap(found[i].framed.window) for i, _, _ in keys]
        mask = TimeMask(known=known)
        measurement = None
        if self.config.edge_samples:
            soft = SoftTimeMask(known=known, num_edge=self.config.edge_samples)
            measurement = Measurement(operator=soft, y=soft.apply(x))
        loss = Weighted(loss=ReconstructionLoss(operator=mask, target=mask.apply(x)))
        filled = fill_gaussian(
            EncodedCanvas(
                x=x,
                known=known if measurement is None else torch.zeros_like(known),
                valid=torch.ones_like(known),
                draft=torch.stack(drafts) if len(drafts) == len(groups) else None,
            ),
            self._denoise,
            self.process,
            sampler=self.sampler,
            guidance=self.guidance,
            losses=[loss] if bool(known.any()) else [],
            strength=strength,
            rngs=[rng.stream(s, take, k) for s, (_, take, k) in zip(starts, keys, strict=True)],
            measurement=measurement,
        )
        for row in filled.x.cpu().double().numpy():
            yield _Drawn(x=row, num_calls=filled.num_calls)

    def _denoise(self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Tensor:
        t = t.to(x)
        return self.process.to_x0(self.network(x, t), x, t)

    def _render(self, item: _Framed, drawn: Sequence[_Drawn]) -> Fill:
        """Bring filled sequences to the gap, and join them to both sides."""
        window, config, framed = item.framed.window, self.config, item.framed
        num = framed.layout.num_frames
        decoded: list[Float[np.ndarray, " n"]] = []
        for group, sequence in zip(item.groups, drawn, strict=True):
            for k in range(len(group.parts)):
                decoded.append(sequence.x[:num, k] / group.gain)
        samples = self._sound.to_gap(framed, decoded, framed.layout.start, draft=item.drafted)
        if config.edge_ms:
            samples = join_edges(
                samples,
                window.before(),
                window.after(),
                edge_samples=round(config.edge_ms * window.sample_rate / 1000),
                order=max(1, round(config.edge_span_ms * window.sample_rate / 1000)),
            )
        fit = score_take(window, samples).total
        return Fill(
            samples=samples,
            model=self.name,
            confidence=10 ** (fit / _SURE_DB),
            is_joined=config.edge_ms > 0,
            max_hz=self.max_hz,
            details={"network_calls": float(sum(s.num_calls for s in drawn)), "fit_db": fit},
        )


def _start_of_gap(window: Window) -> int:
    return window.start + window.gap.start
