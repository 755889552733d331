"""PEAQ, basic version: the objective difference grade of ITU-R BS.1387-1."""

from weft.metrics.peaq.config import RATE, PeaqConfig
from weft.metrics.peaq.model import PeaqResult, odg, odg_at, peaq
from weft.metrics.peaq.network import Movs, distortion_index, grade

__all__ = [
    "RATE",
    "Movs",
    "PeaqConfig",
    "PeaqResult",
    "distortion_index",
    "grade",
    "odg",
    "odg_at",
    "peaq",
]
