"""What self-supervised training optimises: a student that predicts hidden frames of a teacher."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.losses.ssl import (
    Normalisation,
    clip_loss,
    covariance_guard,
    effective_rank,
    feature_std,
    hidden_frames_loss,
    span_positions,
    standardise,
    teacher_targets,
    variance_guard,
)
from weft.nn.log_mel import LogMel
from weft.nn.ssl_encoder import STRIDE, SslEncoder, SslEncoderConfig, top_mean
from weft.train.recipe import Batch, Losses

_DB_PER_NEPER = 10 / math.log(10)  # of power


@final
@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What the student must do."""

    hidden_fraction: float = 0.5
    """Share of frames hidden from the student, in (0, 1)."""
    num_span: int = 8
    """Frames of a hidden span, 40 ms each, >= 1."""
    num_top: int = 2
    """Layers of the teacher whose mean is the target, >= 1."""
    standardise_over: Normalisation = "batch"
    """``batch`` keeps level and colour of a clip in the targets, ``clip`` takes them out."""
    teacher_start: float = 0.99
    """Share of the teacher that a step keeps at first, in [0, 1)."""
    teacher_end: float = 0.9995
    """The same after `teacher_ramp` steps."""
    teacher_ramp: int = 1000
    """Steps from one to the other, linearly, >= 1."""
    mel_weight: float = 1.0
    """Weight of predicting the hidden log-mel frames themselves, >= 0."""
    clip_weight: float = 0.0
    """Weight of predicting the teacher's mean over a second view of the clip, >= 0."""
    variance_weight: float = 0.1
    """Weight of the variance guard on clip means, >= 0."""
    covariance_weight: float = 0.01
    """Weight of the covariance guard on clip means, >= 0."""
    mix_largest: float = 0.3
    """Largest share, in amplitude, of another clip of the batch in the second view, in [0, 1)."""
    gain_range_db: float = 6.0
    """Level of the second view is changed by up to this, either way, in dB, >= 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (0 <= self.teacher_start <= self.teacher_end < 1 and self.teacher_ramp >= 1):
            raise ConfigError(
                "0 <= teacher_start <= teacher_end < 1 and teacher_ramp >= 1 must hold, got "
                f"{self.teacher_start}, {self.teacher_end} and {self.teacher_ramp}"
            )
        if not 0 < self.hidden_fraction < 1 or self.num_span < 1 or self.num_top < 1:
            raise ConfigError(
                "hidden_fraction must be in (0, 1), num_span and num_top >= 1, got "
                f"{self.hidden_fraction}, {self.num_span} and {self.num_top}"
            )
        weights = (
            self.mel_weight,
            self.clip_weight,
            self.variance_weight,
            self.covariance_weight,
            self.gain_range_db,
        )
        if min(weights) < 0 or not 0 <= self.mix_largest < 1:
            raise ConfigError(
                f"weights and gain_range_db must be >= 0 and mix_largest in [0, 1), got {weights} "
                f"and {self.mix_largest}"
            )

    def teacher_decay(self, step: int) -> float:
        """Return the share of the teacher that a step keeps."""
        done = min(1.0, step / self.teacher_ramp)
        return self.teacher_start + (self.teacher_end - self.teacher_start) * done


@final
class SslModule(nn.Module):
    """Student, teacher and the small networks that are thrown away after training."""

    def __init__(self, encoder: SslEncoderConfig, objective: ObjectiveConfig) -> None:
        super().__init__()
        if objective.num_top > encoder.num_layers:
            raise ConfigError(
                f"num_top must be at most the {encoder.num_layers} layers, got {objective.num_top}"
            )
        self.config = objective
        width, num_mels = encoder.width, encoder.mel.num_mels
        self.mel = LogMel(encoder.mel)
        self.student = SslEncoder(encoder)
        self.teacher = SslEncoder(encoder).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.frame_head = _mlp(width, width)
        self.mel_head = _mlp(width, num_mels * STRIDE)
        self.clip_head = _mlp(width, width)

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the losses of a step; ``batch["samples"]`` is ``b n``."""
        mel = self.mel(batch["samples"])
        num_frames = mel.shape[2] // STRIDE
        mel = mel[:, :, : num_frames * STRIDE]
        masked = span_positions(
            len(mel),
            num_frames,
            fraction=self.config.hidden_fraction,
            num_span=self.config.num_span,
            generator=generator,
            device=mel.device,
        )
        with torch.no_grad():
            taught = self.teacher(mel)
            target = teacher_targets(
                taught, num_top=self.config.num_top, over=self.config.standardise_over
            )
        frames = self.student(mel, masked)[-1]
        features = frames.float().mean(dim=1)
        losses = {
            "frames": hidden_frames_loss(self.frame_head(frames), target, masked),
            "mel": hidden_frames_loss(self.mel_head(frames), _stacked(mel), masked),
            "variance": variance_guard(features),
            "covariance": covariance_guard(features),
        }
        weights = {
            "frames": 1.0,
            "mel": self.config.mel_weight,
            "variance": self.config.variance_weight,
            "covariance": self.config.covariance_weight,
        }
        if self.config.clip_weight > 0:
            with torch.no_grad():
                view = standardise(
                    top_mean(self.teacher(self._second_view(mel, generator))), "batch"
                )
            losses["clip"] = clip_loss(self.clip_head(features), view.mean(dim=1))
            weights["clip"] = self.config.clip_weight
        losses["loss"] = sum(
            (weights[name] * losses[name] for name in weights), torch.zeros((), device=mel.device)
        )
        with torch.no_grad():
            rows = top_mean(taught).flatten(0, 1)
            rows = rows[:: max(1, len(rows) // 512)]
            losses["feature_std"] = torch.tensor(feature_std(rows))
            losses["effective_rank"] = torch.tensor(effective_rank(rows))
        return losses

    def update_teacher(self, step: int) -> None:
        """Move the teacher towards the student."""
        keep = self.config.teacher_decay(step)
        with torch.no_grad():
            for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                old.lerp_(new, 1 - keep)

    def _second_view(
        self, mel: Float[Tensor, "b m t"], generator: torch.Generator
    ) -> Float[Tensor, "b m t"]:
        """Return clips at another level, mixed with their neighbours in the batch.

        Source: BYOL for audio, mixup and gain; differs in leaving out random resize crops, which
        would ask for features that do not hear detuning.
        """
        scale_db = self.mel.config.scale_db
        draws = torch.rand(2, len(mel), 1, 1, generator=generator, device=generator.device)
        share, gain = draws.to(mel.device)
        weight = (self.config.mix_largest * share).square().clamp_min(1e-8)
        logs = mel * (scale_db / _DB_PER_NEPER)
        mixed = torch.logaddexp(logs + torch.log1p(-weight), logs.roll(1, dims=0) + weight.log())
        shift_db = (2 * gain - 1) * self.config.gain_range_db
        return mixed * (_DB_PER_NEPER / scale_db) + shift_db / scale_db


def _mlp(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, 2 * num_inputs), nn.GELU(), nn.Linear(2 * num_inputs, num_outputs)
    )


def _stacked(mel: Float[Tensor, "b m t"]) -> Float[Tensor, "b l s"]:
    """Return the log-mel frames that each frame of features covers, side by side."""
    b, m, t = mel.shape
    return mel.transpose(1, 2).reshape(b, t // STRIDE, STRIDE * m)
