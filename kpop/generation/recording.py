"""A listener's recording or file as a seed clip: silence cut off, DC offset removed, levelled, cut on its own beats."""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfilt

from kpop.audio.beat import Pulse, first_metre_position, track_pulse
from kpop.audio.loudness import normalise
from kpop.constants import BEATS_PER_BAR, CLIP_SAMPLES, SAMPLE_RATE_HZ, SEED_BARS, STEPS_PER_BEAT, exact_div
from kpop.errors import KpopError

MIN_S = 2.0
SILENCE_DBFS = -60.0  # a recording whose loudest block is below this is silent
WORKING_RMS = 0.3  # of the loudest block, before loudness is normalised: quiet recordings are measured as others
RUMBLE_HZ = 20.0
MIN_LEVEL_DB = -45.0  # relative to the loudest block: quieter blocks are no beginning and no end
ABOVE_NOISE_DB = 12.0  # the sound begins and ends this far above the noise floor
NOISE_SHARE, NOISE_BLOCKS = 0.1, 9  # noise floor: this quantile of levels averaged over so many blocks
MAX_NOISE_DB = -24.0  # relative to the loudest block: a higher floor is music without rests
BLOCK_SAMPLES = exact_div(SAMPLE_RATE_HZ, 200)
ATTACK_S = 0.04  # kept before the first sound, where the recording has it
MAX_BEATS = SEED_BARS * BEATS_PER_BAR + 1  # one more than the seed, as context for its end
ANALYSED_S = 12.0  # the slowest four bars, and a margin


def prepare_recording(
    waveform: np.ndarray, name: str, tempo_bpm: float | None = None
) -> tuple[np.ndarray, int, float | None]:
    """(clip, metre position of its first step, tempo in BPM) of a waveform (n_samples,) float32 at 16 kHz.

    tempo_bpm: within 3 %, where it is known. The returned tempo is None where no beat is clear. Raises KpopError, which
    calls the recording `name`, when it is silent or holds less than two seconds of sound.
    """
    if len(waveform) < MIN_S * SAMPLE_RATE_HZ:
        raise KpopError(f"{name} lasts only {len(waveform) / SAMPLE_RATE_HZ:.1f} s: two seconds or more are needed.")
    high_pass = butter(1, RUMBLE_HZ, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    waveform = sosfilt(high_pass, waveform - np.median(waveform)).astype(np.float32)
    blocks = waveform[: len(waveform) // BLOCK_SAMPLES * BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES)
    level = np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1))  # RMS (n_blocks,)
    level[[0, -1]] = 0  # where a DC offset that is switched on or off clicks
    if level.max() < 10 ** (SILENCE_DBFS / 20):
        raise KpopError(f"{name} is silent in its first minute: choose a file, or make a sound, that can be heard.")
    noise = np.quantile(uniform_filter1d(level, NOISE_BLOCKS), NOISE_SHARE)
    above_noise = min(noise * 10 ** (ABOVE_NOISE_DB / 20), level.max() * 10 ** (MAX_NOISE_DB / 20))
    loud = np.flatnonzero(level >= max(above_noise, level.max() * 10 ** (MIN_LEVEL_DB / 20)))
    start, stop = int(loud[0]) * BLOCK_SAMPLES, (int(loud[-1]) + 1) * BLOCK_SAMPLES
    if (length_s := (stop - start) / SAMPLE_RATE_HZ) < MIN_S:
        raise KpopError(f"{name} holds only {length_s:.1f} s of sound: two seconds or more are needed.")
    waveform *= np.float32(WORKING_RMS / level.max())
    pulse = track_pulse(waveform[start:stop][: round(ANALYSED_S * SAMPLE_RATE_HZ)], tempo_bpm)
    if pulse is None:
        clip = normalise(waveform[start : min(stop, start + CLIP_SAMPLES)])
        return clip, first_metre_position(clip), None
    return _cut_on_beats(waveform, start, stop, pulse)


def _cut_on_beats(waveform: np.ndarray, start: int, stop: int, pulse: Pulse) -> tuple[np.ndarray, int, float]:
    """As prepare_recording(), of samples start to stop, whose pulse it is, cut to a whole number of its beats."""
    beat = 60 / pulse.tempo_bpm * SAMPLE_RATE_HZ
    first_beat = start + pulse.beat_s * SAMPLE_RATE_HZ
    earliest = start - min(ATTACK_S * SAMPLE_RATE_HZ, start)
    n_steps = int((first_beat - earliest) / beat * STEPS_PER_BEAT)  # of the clip before that beat
    clip_start = first_beat - n_steps * beat / STEPS_PER_BEAT
    n_samples = int(np.ceil(min(int(np.ceil((stop - clip_start) / beat)), MAX_BEATS) * beat))
    clip = waveform[round(clip_start) :][:n_samples]
    clip = normalise(np.pad(clip, (0, n_samples - len(clip))))
    in_clip = Pulse(pulse.tempo_bpm, n_steps * 60 / pulse.tempo_bpm / STEPS_PER_BEAT)
    return clip, first_metre_position(clip, in_clip, start > ATTACK_S * SAMPLE_RATE_HZ), pulse.tempo_bpm
