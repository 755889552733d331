"""Style: losses that pull a fill towards recordings and named classes, and a measure without them.

References go the way of what is guided: through the codec and back, then into the same embedder, or
from latents into the same head. So a fill can reach its target, whatever the codec takes away.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.audio.resample import resample, to_mono
from weft.canvas.style import Style
from weft.canvas.tags import find_tag
from weft.codecs.base import LatentCodec, TokenCodec
from weft.errors import AudioFormatError, ConfigError
from weft.metrics.embedders.corpus_ssl import CorpusSsl, Head, load
from weft.sampling.guidance import ClassifierLoss, EmbedderLoss, GuidanceLoss, Weighted
from weft.sampling.style_embedder import LEVEL_DB, StyleEmbedder, StyleVector, by_span, pool
from weft.sampling.style_head import StyleHead

REFERENCE_STRENGTH = 30.0
"""Weight of the distance to references in guidance, where a style's own weight is 1."""
TAG_STRENGTH = 30.0
"""Weight of the cross-entropy of tags in guidance, where a style's own weight is 1."""
PARTICLE_STRENGTH = 2.0
"""What a style's distance is multiplied by to be the cost of a particle, at the weight 1."""

_PIECE_S = 4.0
_MAX_PIECES = 8
_SILENCE_DB = -70.0

HearFn: TypeAlias = Callable[[Float[Tensor, "b l d"]], StyleVector]
"""From latents to what is heard in them."""


@final
@dataclass(frozen=True, kw_only=True)
class TagLoss(GuidanceLoss):
    """The estimate is heard as the wanted classes: the cross-entropy of each, alone against all.

    Classes that are not asked for are left alone.

    Source: seed 001, table 2, task "classifier". Differs: the classes of the embedder's head
    exclude each other; each wanted one has the odds of its own probability, so that several can be
    wanted.
    """

    hear_fn: HearFn
    """What is heard in latents."""
    head: Head
    """Of all classes."""
    classes: Int[Tensor, " m"]
    """Numbers of the wanted ones, at least one."""

    def distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        return self._loss(x0hat).distance(x0hat)

    def squared_distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        return self._loss(x0hat).squared_distance(x0hat)

    def _loss(self, x0hat: Float[Tensor, "b l d"]) -> ClassifierLoss:
        return ClassifierLoss(
            logits_fn=lambda latents: class_odds(self.hear_fn(latents), self.head, self.classes),
            targets=torch.ones(len(x0hat), len(self.classes), device=x0hat.device),
        )


def class_odds(heard: StyleVector, head: Head, classes: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
    """Return the logarithm of each class' probability over that of all others together.

    Args:
        heard: mean and deviation of features.
        head: a layer whose outputs are logits of classes that exclude each other.
        classes: which are wanted.
    """
    statistics = torch.cat([heard.mean, heard.deviation], dim=1)
    logits = statistics @ head.weight.to(statistics).T + head.bias.to(statistics)  # b k
    wanted = torch.nn.functional.one_hot(classes.to(logits.device), logits.shape[1]).bool()  # m k
    others = logits[:, None].masked_fill(wanted, -torch.inf).logsumexp(dim=2)
    return logits[:, classes.to(logits.device)] - others


@final
class StyleGuide:
    """Makes losses of styles: what latent models are guided by."""

    def __init__(self, *, embedder: CorpusSsl | None = None, head: StyleHead | None = None) -> None:
        """Choose what listens.

        Args:
            embedder: the one of the package unless given; its class head knows the tags.
            head: hears latents without a decoder, for codecs like the one it learned from; None:
                the embedder hears what the codec decodes.
        """
        self._given = embedder
        self.head = head
        self._targets = lru_cache(maxsize=2)(self._hear_references)
        self._ears = lru_cache(maxsize=1)(self._make_ear)

    @property
    def embedder(self) -> CorpusSsl:
        """What the codec's sound is heard with; loaded when it is needed."""
        return load() if self._given is None else self._given

    @property
    def _least_s(self) -> float:
        """Length of the shortest sound that is heard without padding."""
        return self.embedder.window.num_window / self.embedder.encoder.config.frame_rate

    def __call__(
        self, style: Style, codec: LatentCodec, known: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Weighted, ...]:
        """Return the losses of a style, over sequences of the codec's latents.

        Args:
            style: what is wanted.
            codec: whose latents are guided.
            known: frames that are given: what is heard in them is not counted, and where
                there is a second without them they are not heard at all. None: all count.

        Raises:
            ConfigError: a reference is silent or shorter than a second; a tag is not known; the
                codec passes no gradients, and there is no head for it.
            AudioFormatError: a reference is not finite.
        """
        classes = [find_tag(tag, self.embedder.class_names) for tag in style.tags]
        if style.weight == 0:
            return ()
        hear_fn = self._hear_fn(codec, known)
        losses = []
        if style.references:
            loss = EmbedderLoss(
                embed_fn=lambda latents: hear_fn(latents).mean, targets=self._targets(style, codec)
            )
            losses.append(Weighted(loss=loss, weight=REFERENCE_STRENGTH * style.weight))
        if classes:
            assert self.embedder.head is not None  # it has classes
            tags = TagLoss(hear_fn=hear_fn, head=self.embedder.head, classes=torch.tensor(classes))
            losses.append(Weighted(loss=tags, weight=TAG_STRENGTH * style.weight))
        return tuple(losses)

    def _hear_fn(self, codec: LatentCodec, known: Bool[Tensor, "b l"] | None) -> HearFn:
        unknown = None if known is None else ~known
        if self.head is not None:
            self.head.check(codec)
            least = math.ceil(self._least_s * codec.sample_rate / codec.hop_length)
            return partial(_hear_latents, self.head.to(_device_of(codec)), least, unknown)
        if not codec.is_differentiable:
            raise ConfigError(
                "no gradients flow through this codec's decoder; train a head for its latents "
                "('weft train style-head'), or use a token model, which follows styles without"
            )
        return partial(_hear_decoded, self._ears(codec), codec, unknown)

    def _make_ear(self, codec: LatentCodec) -> StyleEmbedder:
        return StyleEmbedder(self.embedder, codec.sample_rate).to(_device_of(codec))

    @torch.no_grad()
    def _hear_references(self, style: Style, codec: LatentCodec) -> Float[Tensor, "r e"]:
        """Return the embedding of each reference, by the way that latents go."""
        hear_fn, device = self._hear_fn(codec, None), _device_of(codec)

        def embed(pieces: Float[Tensor, "p n"]) -> Float[Tensor, "p e"]:
            sound = pieces[:, None].expand(-1, codec.num_channels, -1)
            return hear_fn(codec.encode(sound.to(device))).mean

        return embed_references(
            style.references, embed, sample_rate=codec.sample_rate, least_s=self._least_s
        )


_SHIPPED = StyleGuide()


def style_losses(
    style: Style, codec: LatentCodec, known: Bool[Tensor, "b l"] | None = None
) -> tuple[Weighted, ...]:
    """Return the losses of a style, heard by the package's embedder; see `StyleGuide`."""
    return _SHIPPED(style, codec, known)


@final
class StyleMeter:
    """How far sound is from a style: what particles are weighed by, without gradients."""

    def __init__(self, style: Style, codec: TokenCodec, *, embedder: CorpusSsl | None = None):
        """Embed the references, through the codec.

        Args:
            style: what is wanted.
            codec: whose sound is measured.
            embedder: the one of the package unless given.

        Raises:
            ConfigError: a reference is silent or shorter than a second, or a tag is not known.
            AudioFormatError: a reference is not finite.
        """
        found = load() if embedder is None else embedder
        self._head = found.head
        self._classes = torch.tensor(
            [find_tag(tag, found.class_names) for tag in style.tags], dtype=torch.long
        )
        self._hop_length = codec.hop_length
        device = _device_of(codec)
        self._ear = StyleEmbedder(found, codec.sample_rate).to(device)
        self.weight = style.weight

        @torch.no_grad()
        def embed(pieces: Float[Tensor, "p n"]) -> Float[Tensor, "p e"]:
            sound = codec.decode(codec.embed(codec.encode(pieces.to(device)).codes))
            return pool(self._ear(sound)).mean

        self._targets = (
            embed_references(
                style.references,
                embed,
                sample_rate=codec.sample_rate,
                least_s=self._ear.least_s,
            )
            if style.references
            else None
        )

    @torch.no_grad()
    def __call__(
        self, samples: Float[Tensor, "b n"], known: Bool[Tensor, "b l"]
    ) -> Float[Tensor, " b"]:
        """Return the distance of each sound, >= 0: to references, and as a cross-entropy to tags.

        Args:
            samples: at the codec's rate.
            known: frames that are given: what is heard in them is not counted.
        """
        heard = self._ear.hear(samples, ~known, self._hop_length)
        total = heard.mean.new_zeros(len(samples))
        if self._targets is not None:
            total += torch.cdist(heard.mean, self._targets).mean(dim=1)
        if self._head is not None and len(self._classes):
            odds = class_odds(heard, self._head, self._classes)
            total += torch.nn.functional.softplus(-odds).sum(dim=1)
        return total


def embed_references(
    references: Sequence[Audio],
    embed_fn: Callable[[Float[Tensor, "p n"]], Float[Tensor, "p e"]],
    *,
    sample_rate: int,
    least_s: float,
) -> Float[Tensor, "r e"]:
    """Return one embedding a reference: the mean over pieces of it, spread evenly.

    Of a long recording eight pieces of four seconds are read, so that its length costs nothing.
    Pieces in which it is silent are passed over.

    Args:
        references: of any rates and channels; channels are averaged.
        embed_fn: from pieces of one length at a level of -20 dB to an embedding each.
        sample_rate: of what it takes, in Hz.
        least_s: shortest reference, in seconds.

    Raises:
        ConfigError: a reference is silent or too short.
        AudioFormatError: a sample is NaN or infinite.
    """
    return torch.stack(
        [embed_fn(_pieces_of(audio, sample_rate, least_s)).mean(dim=0) for audio in references]
    )


def _pieces_of(audio: Audio, sample_rate: int, least_s: float) -> Float[Tensor, "p n"]:
    """Return pieces of a recording in which something is heard, all at one level."""
    name = "a reference" if audio.path is None else audio.path.name
    duration_s = audio.num_samples / audio.sample_rate
    if duration_s < least_s:
        raise ConfigError(
            f"{name} is {duration_s:.2f} s long, but what a sound is like is heard over at least "
            f"{least_s:g} s; give a longer recording"
        )
    length = min(audio.num_samples, round(_PIECE_S * audio.sample_rate))
    num = min(_MAX_PIECES, audio.num_samples // length)
    spare = audio.num_samples - length
    found = []
    for i in range(num):
        start = spare * i // (num - 1) if num > 1 else spare // 2
        piece = to_mono(audio.read(start, start + length))
        if not np.isfinite(piece).all():
            raise AudioFormatError(
                f"{name} holds NaN or infinite samples between {start} and {start + length}; "
                "repair the file, or give another reference"
            )
        level = level_db(piece)
        if level > _SILENCE_DB:
            loud = 10 ** ((LEVEL_DB - level) / 20) * piece
            found.append(resample(loud, audio.sample_rate, sample_rate)[0])
    if not found:
        raise ConfigError(
            f"{name} is silent where it was listened to, and sounds like nothing; give a recording "
            "with sound"
        )
    return torch.from_numpy(np.stack(found)).float()


def _hear_decoded(
    ear: StyleEmbedder,
    codec: LatentCodec,
    unknown: Bool[Tensor, "b l"] | None,
    latents: Float[Tensor, "b l d"],
) -> StyleVector:
    if unknown is None:
        return pool(ear(codec.decode(latents).mean(dim=1)))
    hop, reach = codec.hop_length, codec.reach_frames

    def hear_part(rows: Int[Tensor, " r"], first: int, stop: int) -> StyleVector:
        begin = max(0, first - reach)
        sound = codec.decode(latents[rows, begin : stop + reach]).mean(dim=1)  # r n
        inside = sound[:, (first - begin) * hop : (stop - begin) * hop]
        return ear.hear(inside, unknown[rows, first:stop], hop)

    return by_span(unknown, ear.least_frames(hop), hear_part)


def _hear_latents(
    head: StyleHead,
    least: int,
    unknown: Bool[Tensor, "b l"] | None,
    latents: Float[Tensor, "b l d"],
) -> StyleVector:
    if unknown is None:
        return head.hear(latents)

    def hear_part(rows: Int[Tensor, " r"], first: int, stop: int) -> StyleVector:
        return head.hear(latents[rows, first:stop], unknown[rows, first:stop].float())

    return by_span(unknown, least, hear_part)


def _device_of(codec: LatentCodec | TokenCodec) -> torch.device:
    tensors = (*codec.parameters(), *codec.buffers())
    return tensors[0].device if tensors else torch.device("cpu")
