"""Metrics: pure functions of a reference and an estimate, or of two sets of vectors.

One module a family; `pairs` says what all of those of two signals ask of their input, `sets` what
those of vectors ask. `weft.metrics.peaq` and `weft.metrics.embedders` are imported by name: they
bring scipy.signal and torch.
"""

from weft.metrics.bandwidth import audiosr_cutoff_hz as audiosr_cutoff_hz
from weft.metrics.bandwidth import measure_cutoff_hz as measure_cutoff_hz
from weft.metrics.bandwidth import replace_low_band as replace_low_band
from weft.metrics.divergence import kl_paired_panns as kl_paired_panns
from weft.metrics.divergence import kl_paired_passt as kl_paired_passt
from weft.metrics.divergence import kl_set as kl_set
from weft.metrics.frechet import FrechetInfinity as FrechetInfinity
from weft.metrics.frechet import Gaussian as Gaussian
from weft.metrics.frechet import GaussianAccumulator as GaussianAccumulator
from weft.metrics.frechet import frechet_distance as frechet_distance
from weft.metrics.frechet import frechet_infinity as frechet_infinity
from weft.metrics.frechet import frechet_infinity_both as frechet_infinity_both
from weft.metrics.inception import InceptionScore as InceptionScore
from weft.metrics.inception import inception_score as inception_score
from weft.metrics.kernel import kernel_audio_distance as kernel_audio_distance
from weft.metrics.kernel import kernel_inception_distance as kernel_inception_distance
from weft.metrics.lsd import APBWE as APBWE
from weft.metrics.lsd import EXCERPT as EXCERPT
from weft.metrics.lsd import GAP as GAP
from weft.metrics.lsd import SSR_EVAL as SSR_EVAL
from weft.metrics.lsd import UNIVERSR as UNIVERSR
from weft.metrics.lsd import BandDistances as BandDistances
from weft.metrics.lsd import LsdConfig as LsdConfig
from weft.metrics.lsd import log_spectral_distance as log_spectral_distance
from weft.metrics.lsd import lsd_split as lsd_split
from weft.metrics.manifold import Manifold as Manifold
from weft.metrics.manifold import PrecisionRecall as PrecisionRecall
from weft.metrics.manifold import precision_recall as precision_recall
from weft.metrics.manifold import realism as realism
from weft.metrics.manifold import realism_ratio as realism_ratio
from weft.metrics.mel import AUDIOTOOLS as AUDIOTOOLS
from weft.metrics.mel import DAC as DAC
from weft.metrics.mel import MelDistanceConfig as MelDistanceConfig
from weft.metrics.mel import mel_distance as mel_distance
from weft.metrics.seams import CLICK_DB as CLICK_DB
from weft.metrics.seams import level_mismatch_db as level_mismatch_db
from weft.metrics.seams import seam_click_db as seam_click_db
from weft.metrics.seams import seam_jump_db as seam_jump_db
from weft.metrics.seams import seam_level_step_db as seam_level_step_db
from weft.metrics.snr import si_sdr_db as si_sdr_db
from weft.metrics.snr import snr_db as snr_db
from weft.metrics.text_match import clap_score as clap_score
from weft.metrics.visqol import visqol_gap as visqol_gap
