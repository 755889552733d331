"""Which tokens are masked together: one by one, in the published spans, or in gaps.

All three kinds mask the share that the schedule asks for at time ``t``; they differ in how masked
tokens lie beside each other, and so in what a network learns to fill.

* ``independent``: each token by itself, as SEDD has it. Runs at a real gap's share of a window
  (22 of 300) are 1.1 tokens long.
* ``published``: AIDD's spans. Their length at low noise is 1.3 tokens on average, and the first and
  the last tokens of a window are masked less often than the others.
* ``gaps``: what a sampler meets when it fills gaps. A region of one or a few long spans, of which a
  random part has been filled already. `draw_masked` says how it is drawn and why.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.schedules import LogLinearNoise

SpanKind: TypeAlias = Literal["independent", "published", "gaps"]
"""How masked tokens lie beside each other."""


@final
@dataclass(frozen=True, kw_only=True)
class SpanConfig:
    """Which tokens are masked together."""

    kind: SpanKind = "gaps"
    """See the module's text."""
    p0: float = 0.8
    """``published``: parameter of the geometric length without noise, in (0, 1]."""
    alpha: float = 0.5
    """``published``: how fast spans grow with noise, in [0, 100]."""
    max_span: int = 30
    """``published``: longest span, in frames, in [1, 65536]."""
    min_gap: int = 3
    """``gaps``: shortest span of a region, in frames, in [1, 65536]."""
    max_gap: int = 60
    """``gaps``: longest span of a small region, in frames, in [min_gap, 65536]."""
    fresh_share: float = 0.25
    """``gaps``: share of items whose region has not been filled at all, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(SpanKind):
            raise ConfigError(f"kind must be one of {get_args(SpanKind)}, got {self.kind!r}")
        if not 0 < self.p0 <= 1:
            raise ConfigError(f"p0 must be in (0, 1], got {self.p0}")
        if not 0 <= self.alpha <= 100:
            raise ConfigError(f"alpha must be in [0, 100], got {self.alpha}")
        for name, value, least in (
            ("max_span", self.max_span, 1),
            ("min_gap", self.min_gap, 1),
            ("max_gap", self.max_gap, self.min_gap),
        ):
            if not least <= value <= 65536:
                raise ConfigError(f"{name} must be in [{least}, 65536] frames, got {value}")
        if not 0 <= self.fresh_share <= 1:
            raise ConfigError(f"fresh_share must be in [0, 1], got {self.fresh_share}")


def draw_masked(
    num_items: int,
    num_frames: int,
    t: Float[Tensor, " b"],
    *,
    schedule: LogLinearNoise,
    config: SpanConfig,
    generator: torch.Generator,
    valid: Bool[Tensor, "b l"] | None = None,
) -> Bool[Tensor, "b l"]:
    """Draw which tokens are masked at time ``t``.

    ``gaps`` masks ``n`` tokens, the scheduled number rounded up or down at random, so that the
    expected share is exact. They are a random subset of a region of ``r >= n`` tokens. Where
    windows hold gaps of any size, as likely small as large on a logarithmic scale, and a sampler
    reveals them token by token in random order, then among its states with ``n`` tokens left the
    masked share ``n / r`` of the region is uniform: so it is drawn from (n / l, 1), and
    ``fresh_share`` of the items have ``r = n``, which every fill starts from. A region has spans
    with log-uniform lengths, from ``min_gap`` to ``max_gap`` or twice the region, the last one cut
    to fit, that lie at random places of a circle: what passes the end of the window goes on at its
    start, so that every position is masked equally often.

    Args:
        num_items: items, >= 1.
        num_frames: frames of an item, >= 1.
        t: time of each item, in [0, 1].
        schedule: how much is masked at which time.
        config: how masked tokens lie beside each other.
        generator: what is drawn from; the result is on its device.
        valid: True where a frame is no batch padding. An item is as long as it has valid frames;
            padding is never masked.

    Raises:
        ConfigError: ``num_items`` or ``num_frames`` below 1, or a time outside [0, 1].
        ShapeError: ``t`` or ``valid`` do not fit.

    Example:
        >>> masked = draw_masked(
        ...     2, 300, torch.tensor([0.1, 0.9]), schedule=LogLinearNoise(), config=SpanConfig(),
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> masked.sum(dim=1)
        tensor([ 30, 270])

    Source: ``published``: AIDD (seed 000), "Span-based masking", and its released sampler. Differs:
    drawn for all items at once; a sequence may be shorter than a span. ``gaps`` is Weft's own.
    """
    if num_items < 1 or num_frames < 1:
        raise ConfigError(
            f"num_items and num_frames must be at least 1, got {num_items} and {num_frames}"
        )
    if t.shape != (num_items,):
        raise ShapeError(f"t has {len(t)} times for {num_items} items; give one an item")
    device = generator.device
    if valid is None:
        valid = torch.ones(num_items, num_frames, dtype=torch.bool, device=device)
    elif valid.shape != (num_items, num_frames):
        raise ShapeError(
            f"valid has the shape {tuple(valid.shape)}, needed is {(num_items, num_frames)}"
        )
    t, valid = t.to(device, torch.float32), valid.to(device)
    if not bool(((t >= 0) & (t <= 1)).all()):
        raise ConfigError(f"times must be in [0, 1], got {t.min():g} to {t.max():g}")
    lengths = valid.sum(dim=1)
    fraction = schedule.masked_fraction(t)
    if config.kind == "independent":
        return (_uniform(generator, num_items, num_frames) < fraction[:, None]) & valid
    if config.kind == "published":
        drawn = _draw_published(
            fraction, schedule.total_noise(t), lengths, num_frames, config, generator
        )
    else:
        drawn = _draw_gaps(fraction, lengths, num_frames, config, generator)
    # Drawn for the valid frames, one after the other; now to where these are.
    return drawn.gather(1, (valid.cumsum(dim=1) - 1).clamp_min(0)) & valid


def _uniform(generator: torch.Generator, *shape: int) -> Float[Tensor, "..."]:
    return torch.rand(shape, generator=generator, device=generator.device)


def _draw_published(
    fraction: Float[Tensor, " b"],
    total_noise: Float[Tensor, " b"],
    lengths: Int[Tensor, " b"],
    num_frames: int,
    config: SpanConfig,
    generator: torch.Generator,
) -> Bool[Tensor, "b l"]:
    """Lay spans of geometric lengths until the budget of distinct tokens is met.

    Spans are numbered in the order of their draw. What counts of a position is the first span that
    covers it: sorted, these numbers say after which span the budget is met.
    """
    num_items = len(lengths)
    budget = (fraction * lengths).floor().long()
    longest = min(config.max_span, num_frames)
    log_stay = torch.log1p(-config.p0 / (1 + config.alpha * total_noise))[:, None]
    offsets = torch.arange(longest, device=generator.device)
    never = torch.iinfo(torch.long).max
    first = torch.full((num_items, num_frames + 1), never, device=generator.device)
    num_drawn = 0
    while True:
        covered_by = first[:, :-1].sort(dim=1).values
        last = covered_by.gather(1, (budget[:, None] - 1).clamp_min(0))
        if not bool(((last == never) & (budget[:, None] > 0)).any()):
            return (first[:, :-1] <= last) & (budget[:, None] > 0)
        u = 1 - _uniform(generator, num_items, num_frames)  # in (0, 1]
        span = (torch.log(u) / log_stay).clamp_max(longest - 1).long() + 1
        # A span that is longer than its item starts with it, and covers all of it.
        num_places = (lengths[:, None] - span + 1).clamp_min(1)
        start = (_uniform(generator, num_items, num_frames) * num_places).long()
        start = torch.minimum(start, num_places - 1)
        covered = start[:, :, None] + offsets
        covered = torch.where(offsets < span[:, :, None], covered, num_frames)  # the last is spare
        number = torch.arange(num_drawn, num_drawn + num_frames, device=generator.device)
        number = number[None, :, None].expand(covered.shape)
        first.scatter_reduce_(1, covered.flatten(1), number.flatten(1), reduce="amin")
        num_drawn += num_frames


def _draw_gaps(
    fraction: Float[Tensor, " b"],
    lengths: Int[Tensor, " b"],
    num_frames: int,
    config: SpanConfig,
    generator: torch.Generator,
) -> Bool[Tensor, "b l"]:
    """Draw a region of spans, mask a random subset of it, and turn the circle."""
    num_items = len(lengths)
    num_masked = (fraction * lengths + _uniform(generator, num_items)).floor().long()
    num_masked = torch.minimum(num_masked, lengths)
    # Of regions with r = n .. l frames, each gets a share of 1 / (r (r + 1)).
    least = num_masked / (lengths + 1)
    share = least + (1 - least) * (1 - _uniform(generator, num_items))
    share = torch.where(_uniform(generator, num_items) < config.fresh_share, 1.0, share)
    num_region = (num_masked / share.clamp_min(1e-9)).floor().long()
    num_region = torch.minimum(num_region.maximum(num_masked), lengths)
    region = _draw_region(num_region, lengths, num_frames, config, generator)
    order = _uniform(generator, num_items, num_frames).masked_fill(~region, 2.0)
    masked = order.argsort(dim=1).argsort(dim=1) < num_masked[:, None]
    around = lengths[:, None].clamp_min(1)
    shift = (_uniform(generator, num_items, 1) * around).long()
    place = torch.arange(num_frames, device=generator.device)
    return masked.gather(1, (place + shift) % around)


def _draw_region(
    num_region: Int[Tensor, " b"],
    lengths: Int[Tensor, " b"],
    num_frames: int,
    config: SpanConfig,
    generator: torch.Generator,
) -> Bool[Tensor, "b l"]:
    """Draw spans that hold ``num_region`` frames of the first ``lengths``, the first at frame 0."""
    num_items = len(lengths)
    num_spans = -(-num_frames // config.min_gap)
    longest = (2 * num_region).clamp_min(config.max_gap)[:, None]
    # Of whole lengths a .. b each gets the share log((x + 1) / x) / log((b + 1) / a).
    scale = torch.log((longest + 1) / config.min_gap) * _uniform(generator, num_items, num_spans)
    span = (config.min_gap * torch.exp(scale)).long()
    span_end = torch.minimum(span.cumsum(dim=1), num_region[:, None])
    span_start = torch.nn.functional.pad(span_end[:, :-1], (1, 0))
    # Known frames before a span; those of spans that are not needed come after all others.
    num_known = (lengths - num_region)[:, None]
    before = (_uniform(generator, num_items, num_spans) * (num_known + 1)).long()
    before = torch.minimum(before, num_known)
    before[:, 0] = 0
    before = torch.where(span_start < num_region[:, None], before, num_known).sort(dim=1).values
    edges = torch.zeros(num_items, num_frames + 1, dtype=torch.long, device=generator.device)
    one = torch.ones_like(before)
    edges.scatter_add_(1, span_start + before, one)
    edges.scatter_add_(1, span_end + before, -one)
    return edges[:, :-1].cumsum(dim=1) > 0
