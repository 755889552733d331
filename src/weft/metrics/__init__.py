"""Metrics: pure functions of a reference and an estimate.

One module a family; `pairs` says what all of them ask of their input, and what none of them does.
"""

from weft.metrics.bandwidth import audiosr_cutoff_hz as audiosr_cutoff_hz
from weft.metrics.bandwidth import measure_cutoff_hz as measure_cutoff_hz
from weft.metrics.bandwidth import replace_low_band as replace_low_band
from weft.metrics.lsd import APBWE as APBWE
from weft.metrics.lsd import EXCERPT as EXCERPT
from weft.metrics.lsd import GAP as GAP
from weft.metrics.lsd import SSR_EVAL as SSR_EVAL
from weft.metrics.lsd import UNIVERSR as UNIVERSR
from weft.metrics.lsd import BandDistances as BandDistances
from weft.metrics.lsd import LsdConfig as LsdConfig
from weft.metrics.lsd import log_spectral_distance as log_spectral_distance
from weft.metrics.lsd import lsd_split as lsd_split
from weft.metrics.mel import AUDIOTOOLS as AUDIOTOOLS
from weft.metrics.mel import DAC as DAC
from weft.metrics.mel import MelDistanceConfig as MelDistanceConfig
from weft.metrics.mel import mel_distance as mel_distance
from weft.metrics.seams import CLICK_DB as CLICK_DB
from weft.metrics.seams import level_mismatch_db as level_mismatch_db
from weft.metrics.seams import seam_click_db as seam_click_db
from weft.metrics.seams import seam_level_step_db as seam_level_step_db
from weft.metrics.snr import si_sdr_db as si_sdr_db
from weft.metrics.snr import snr_db as snr_db
from weft.metrics.visqol import visqol_gap as visqol_gap
