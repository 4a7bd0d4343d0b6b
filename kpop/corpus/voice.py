"""The singing voice: a phrase of notes with syllables in, a waveform out.

Syllables come from the voicebank. Consonants keep their length and precede the beat, vowels begin on it and are
stretched where they are steady. The harmonics get amplitude and minimum phase of the spectral envelope at their
frequencies, noise is shaped by envelope and aperiodicity, as in WORLD (Morise et al. 2016); so nothing lies above
TOP_HZ and no filter rings. Controls are frames of FRAME_SAMPLES.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import njit
from scipy.ndimage import uniform_filter1d

from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.instruments import TOP_HZ, midi_hz, n_samples, noise
from kpop.corpus.score import Note
from kpop.corpus.voicebank import APERIODICITY_HZ, BAND_HZ, FRAME_S, Syllable, voicebank

FRAME_SAMPLES = n_samples(FRAME_S)
N_FFT = 512  # of envelopes and noise
BIN_HZ = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT
LEGATO_DB = (-22.0, -13.0)  # inside a phrase syllables are cut where they are softer, at their start and end
SHORTEST_CONSONANT, LONGEST_CONSONANT = 6, 26  # frames
CONSONANT_SHARE = 0.4  # of the note before, at most
JOIN_FRAMES = 5  # of the crossfade between syllables
RELEASE_FRAMES = 14
GLIDE_S = 0.05  # portamento
VIBRATO_HZ, VIBRATO_DELAY_S, VIBRATO_RISE_S = 5.6, 0.22, 0.3
DRIFT_CENTS = 5.0  # slow random deviation of the pitch
SPOKEN_FALL = 3.0  # semitones per syllable of a rapper


@dataclass(frozen=True)
class Singer:
    """Parameters of a voice."""

    voice: str  # of the voicebank
    formant_scale: float = 1.0  # above 1: a shorter vocal tract, brighter
    bright_db: float = 0.0  # added per octave from 800 Hz to 6.4 kHz
    breath: float = 1.0  # factor of the aperiodicity in vowels
    vibrato_cents: float = 35.0
    cents: float = 0.0  # detuning
    scoop_cents: float = 70.0  # how far below its first note a phrase begins
    spoken: bool = False  # the pitch falls within each syllable


LEADS = {
    "neon": Singer("jf_alpha", 1.06, -2.0),
    "velvet": Singer("jf_nezumi", 1.08, -2.0, 1.4, 30.0, 0.0, 110.0),
    "bubblegum": Singer("jf_tebukuro", 1.05, -1.5, 1.0, 25.0),
    "noir": Singer("jf_gongitsune", 1.04, -2.0, 1.0, 40.0, 0.0, 90.0),
    "citrus": Singer("jf_alpha", 1.13, -1.5, 1.0, 25.0),
    "aurora": Singer("jf_tebukuro", 0.98, -2.0, 1.5, 35.0, 0.0, 100.0),
}
# The group's second singer, who doubles the lead and sings the harmonies; its rapper, and at what MIDI pitch.
SECONDS = {
    "neon": "jf_tebukuro",
    "velvet": "jf_gongitsune",
    "bubblegum": "jf_alpha",
    "noir": "jf_nezumi",
    "citrus": "jf_gongitsune",
    "aurora": "jf_alpha",
}
RAPPERS = {
    "neon": ("jf_gongitsune", 58),
    "velvet": ("jm_kumo", 47),
    "bubblegum": ("jf_tebukuro", 62),
    "noir": ("jm_kumo", 45),
    "citrus": ("jf_nezumi", 57),
    "aurora": ("jm_kumo", 48),
}
# Other voices against the lead of their group: "scale" multiplies formant_scale, the rest replaces.
VARIANTS = {
    "double": {"cents": -6.0, "vibrato_cents": 20.0},
    "harmony": {"scale": 0.97, "bright_db": -3.0, "vibrato_cents": 20.0, "breath": 1.3, "scoop_cents": 30.0},
    "harmony2": {"scale": 1.04, "bright_db": -3.0, "vibrato_cents": 15.0, "breath": 1.3, "scoop_cents": 20.0},
    "adlib": {"scoop_cents": 140.0},
    "chop": {"scale": 1.08, "vibrato_cents": 0.0, "scoop_cents": 160.0},
    "shout": {"bright_db": -1.0, "vibrato_cents": 0.0, "scoop_cents": 200.0, "spoken": True},
    "rap": {"bright_db": -1.0, "vibrato_cents": 0.0, "scoop_cents": 0.0, "spoken": True},
}
PHRASED_TRACKS = ("lead", "harmony", "harmony2", "adlib", "rap")  # legato where notes touch
DOUBLE_DELAY_S, DOUBLE_LEVEL = 0.016, 0.35
CHOP_GATE_16THS = 1.5  # chops are cut this short
SHOUT_CENTS = (-480.0, -35.0, 40.0, 470.0)  # detuning of the voices of a shout
BREATH_S, BREATH_GAP_S, BREATH_LEVEL = 0.28, 0.45, 0.05  # a breath before a phrase that follows a rest of this length


def vocal_track(
    track: str, palette: str, notes: tuple[Note, ...], sixteenth_samples: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, waveform) of each phrase of a track of VOICE_TRACKS, notes in order of time.

    Phrases start before their first note, so that vowels, not consonants, fall on the beat.
    """
    sixteenth_s, end_16th = sixteenth_samples / SAMPLE_RATE_HZ, -100.0
    for phrase in split_phrases(notes) if track in PHRASED_TRACKS else [(note,) for note in notes]:
        before, waveform = _perform(track, palette, phrase, sixteenth_s)
        start = round(phrase[0].start_16th * sixteenth_samples) - before
        yield start, waveform
        if track == "lead" and (phrase[0].start_16th - end_16th) * sixteenth_s > BREATH_GAP_S:
            breath = _breath(LEADS[palette].voice)
            yield start - len(breath), breath
        end_16th = phrase[-1].end_16th
    _sung.cache_clear()  # phrases recur within a track only, and 100 of them take 50 MB


def _perform(track: str, palette: str, phrase: tuple[Note, ...], sixteenth_s: float) -> tuple[int, np.ndarray]:
    """A phrase as its track sings it: samples before its first note, and waveform (n,) float64."""
    lead, second = LEADS[palette], replace(LEADS[palette], voice=SECONDS[palette])
    if track == "lead":
        voices = [(lead, 1.0, 0), (_variant(second, **VARIANTS["double"]), DOUBLE_LEVEL, n_samples(DOUBLE_DELAY_S))]
    elif track == "shout":
        shouting = [_variant(singer, **VARIANTS[track]) for singer in (lead, second, lead, second)]
        scaled = zip(shouting, SHOUT_CENTS, strict=True)
        voices = [(replace(each, cents=cents, formant_scale=1.0 + cents / 4_800), 0.5, 0) for each, cents in scaled]
    elif track == "rap":
        voice, midi = RAPPERS[palette]
        phrase = tuple(replace(note, midi=midi + note.midi) for note in phrase)
        voices = [(_variant(replace(lead, voice=voice, formant_scale=1.0), **VARIANTS[track]), 1.0, 0)]
    else:
        if track == "chop":
            phrase = tuple(replace(note, length_16ths=min(note.length_16ths, CHOP_GATE_16THS)) for note in phrase)
        voices = [(_variant(second if "harmony" in track else lead, **VARIANTS[track]), 1.0, 0)]
    sung = [(*sing(singer, phrase, sixteenth_s), gain, delay) for singer, gain, delay in voices]
    before = max(lead_in for lead_in, *_ in sung)
    total = np.zeros(max(before - lead_in + delay + len(waveform) for lead_in, waveform, _, delay in sung))
    for lead_in, waveform, gain, delay in sung:
        total[before - lead_in + delay :][: len(waveform)] += gain * waveform
    return before, total


def _variant(singer: Singer, scale: float = 1.0, **replaced: float) -> Singer:
    return replace(singer, formant_scale=scale * singer.formant_scale, **replaced)


@lru_cache(maxsize=8)
def _breath(voice: str) -> np.ndarray:
    """A breath through the mouth of a voice: its "h", longer, swelling and breaking off; (n,) float64."""
    syllable, n = voicebank()[voice]["ha"], round(BREATH_S / FRAME_S)
    envelope_db = np.repeat(syllable.envelope_db[:6].mean(0)[None], n, axis=0)
    spectrum_db, _ = _spectra(Singer(voice), envelope_db, np.ones((n, 4)))
    wave = _noise(spectrum_db - spectrum_db.max(), np.ones_like(spectrum_db))
    swell = np.interp(np.arange(len(wave)) / len(wave), (0, 0.75, 0.95, 1), (0, 1, 0.6, 0))
    return BREATH_LEVEL * wave / wave.std() * swell


def split_phrases(notes: tuple[Note, ...]) -> list[tuple[Note, ...]]:
    """The notes, in order of time, cut at rests."""
    starts = [i for i, note in enumerate(notes) if i == 0 or notes[i - 1].end_16th != note.start_16th]
    return [notes[first:stop] for first, stop in pairwise([*starts, len(notes)])]


def sing(singer: Singer, phrase: tuple[Note, ...], sixteenth_s: float) -> tuple[int, np.ndarray]:
    """A phrase of notes without rests between them: samples before its first note, and waveform (n,) float64 from there
    to its release, about -15 dB RMS.

    The same singer, notes and syllables give the same samples, wherever in the song the phrase is.
    """
    origin = phrase[0].start_16th
    return _sung(singer, tuple(replace(note, start_16th=note.start_16th - origin) for note in phrase), sixteenth_s)


@lru_cache(maxsize=256)
def _sung(singer: Singer, phrase: tuple[Note, ...], sixteenth_s: float) -> tuple[int, np.ndarray]:
    edges = [round(note.start_16th * sixteenth_s / FRAME_S) for note in phrase]
    edges.append(max(edges[-1] + 1, round(phrase[-1].end_16th * sixteenth_s / FRAME_S)))
    lead_in, envelope_db, aperiodicity = _syllables(singer, phrase, edges)
    edges = [edge + lead_in for edge in edges]
    f0_hz = _pitch_hz(singer, phrase, edges, len(envelope_db))
    envelope_db = envelope_db + _level_db(phrase, edges, len(envelope_db))[:, None]
    spectrum_db, share = _spectra(singer, envelope_db, aperiodicity)
    wave = _voiced(f0_hz, spectrum_db, share) + _noise(spectrum_db, share)
    return lead_in * FRAME_SAMPLES, 0.2 * wave


def _syllables(singer: Singer, phrase: tuple[Note, ...], edges: list[int]) -> tuple[int, np.ndarray, np.ndarray]:
    """Frames before the first vowel, and envelope in dB and aperiodicity of every frame of a phrase.

    edges: the frames of the notes' starts and of the last one's end.
    """
    bank = voicebank()[singer.voice]
    heads = [i for i, note in enumerate(phrase) if note.syllable or i == 0]  # the others continue a vowel
    starts = [edges[i] for i in heads] + [edges[-1]]
    sung = [bank[phrase[i].syllable or "ah"] for i in heads]
    first = [0 if i == 0 else _first_legato(each) for i, each in enumerate(sung)]
    onsets = [min(each.vowel - begin, LONGEST_CONSONANT) for each, begin in zip(sung, first, strict=True)]
    for i in range(1, len(sung)):
        room = int(CONSONANT_SHARE * (starts[i] - starts[i - 1]))
        onsets[i] = min(onsets[i], max(room, SHORTEST_CONSONANT))
    parts, joins, total = [], [], 0
    for i, each in enumerate(sung):
        is_last = i + 1 == len(sung)
        stop = len(each.envelope_db) if is_last else max(_stop_legato(each), each.vowel + 4)
        n_vowel = starts[i + 1] - starts[i] + (RELEASE_FRAMES if is_last else -onsets[i + 1])
        path = np.concatenate(
            (
                np.linspace(first[i], each.vowel, onsets[i], endpoint=False),
                _stretched(each, each.vowel, stop, max(n_vowel, 1)),
            )
        )
        parts.append(path)
        total += len(path)
        joins.append(total)
    paired = list(zip(sung, parts, strict=True))
    envelope_db = np.concatenate([_at(each.envelope_db, path) for each, path in paired])
    aperiodicity = np.concatenate([_at(each.aperiodicity, path) for each, path in paired])
    for join in joins[:-1]:  # a straight line from the vowel before to the consonant
        low, high = max(join - JOIN_FRAMES + 1, 0), min(join + 1, total - 1)
        for values in (envelope_db, aperiodicity):
            values[low:high] = np.linspace(values[low], values[high], high - low, endpoint=False)
    return onsets[0], envelope_db, aperiodicity


def _levels_db(syllable: Syllable) -> np.ndarray:
    return 10 * np.log10(np.mean(10 ** (syllable.envelope_db / 10), axis=1) + 1e-12)


def _first_legato(syllable: Syllable) -> int:
    """The first frame sung inside a phrase: soft voicing before a consonant is left out."""
    quiet = (_levels_db(syllable) < LEGATO_DB[0]) & (syllable.aperiodicity[:, 0] < 1)
    return min(int(np.argmin(quiet)), max(syllable.vowel - 1, 0))


def _stop_legato(syllable: Syllable) -> int:
    """One past the last frame sung inside a phrase."""
    return int(np.flatnonzero(_levels_db(syllable) > LEGATO_DB[1])[-1]) + 1


def _stretched(syllable: Syllable, first: int, stop: int, n: int) -> np.ndarray:
    """Source frames (n,) float64 from first to stop: longer ones come from loud and steady frames."""
    natural = stop - first
    durations = np.full(natural, n / natural)
    if n > natural:
        change = np.abs(np.gradient(syllable.envelope_db[first:stop], axis=0)).mean(1) if natural > 1 else np.ones(1)
        steadiness = 10 ** (_levels_db(syllable)[first:stop] / 10) / (0.3 + uniform_filter1d(change, 5)) ** 2
        steadiness = uniform_filter1d(steadiness, 15, mode="nearest")
        durations = 1 + (n - natural) * steadiness / steadiness.sum()
    return np.interp(np.arange(n) + 0.5, np.cumsum(durations) - durations / 2, np.arange(first, stop))


def _at(values: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Rows of values (n, k) at fractional indices."""
    low = np.minimum(path.astype(int), len(values) - 1)
    share = (path - low)[:, None]
    return (1 - share) * values[low] + share * values[np.minimum(low + 1, len(values) - 1)]


def _smooth(values: np.ndarray, duration_s: float) -> np.ndarray:
    """Steps of values (n,) turned into glides of about duration_s."""
    half = max(1, round(duration_s / FRAME_S / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(values, half, mode="edge"), window / window.sum(), mode="valid")


def _pitch_hz(singer: Singer, phrase: tuple[Note, ...], edges: list[int], n: int) -> np.ndarray:
    """Fundamental frequency of every frame: portamento, scoop into the phrase, vibrato, drift."""
    midi, cents = np.full(n, float(phrase[0].midi)), np.full(n, singer.cents)
    for note, start, stop in zip(phrase, edges[:-1], edges[1:], strict=True):
        midi[start:] = note.midi
        seconds = np.arange(stop - start) * FRAME_S
        if singer.spoken:
            cents[start:stop] += 100 * SPOKEN_FALL * (0.4 - seconds / max(seconds[-1], FRAME_S))
        if seconds[-1] > VIBRATO_DELAY_S:
            rise = np.clip((seconds - VIBRATO_DELAY_S) / VIBRATO_RISE_S, 0.0, 1.0)
            swing = np.sin(2 * np.pi * VIBRATO_HZ * (seconds - VIBRATO_DELAY_S))
            cents[start:stop] += singer.vibrato_cents * rise * swing
    scoop = singer.scoop_cents * np.exp(-np.maximum(np.arange(n) - edges[0], 0) * FRAME_S / 0.05)
    drift = DRIFT_CENTS * np.resize(_drift(), n)
    return midi_hz(_smooth(midi, GLIDE_S) + (_smooth(cents, 0.03) - scoop + drift) / 100)


@lru_cache(maxsize=1)
def _drift() -> np.ndarray:
    """Slow noise of unit variance, 60 s of frames."""
    slow = uniform_filter1d(noise(round(60 / FRAME_S), 31), round(0.15 / FRAME_S), mode="wrap")
    return slow / slow.std()


def _level_db(phrase: tuple[Note, ...], edges: list[int], n: int) -> np.ndarray:
    """Level of every frame: by velocity, swelling a little into long notes, and the release."""
    level = np.full(n, 0.0)
    for note, start, stop in zip(phrase, edges[:-1], edges[1:], strict=True):
        level[start:] = 20 * np.log10(0.35 + 0.65 * note.velocity)
        length_s = (stop - start) * FRAME_S
        if length_s > 0.3:
            level[start:stop] += 1.5 * np.sin(np.pi * np.arange(stop - start) / (stop - start))
    level[: edges[0]] = level[edges[0]]
    level = _smooth(level, 0.05)
    fade = np.clip((n - np.arange(n)) / (RELEASE_FRAMES + 6), 1e-3, 1.0)
    return level + 30 * np.log10(fade)


def _spectra(singer: Singer, envelope_db: np.ndarray, aperiodicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Envelope in dB and share of noise 0..1 at BIN_HZ, both (n_frames, n_bins), in the singer's timbre."""
    band = np.interp(BIN_HZ / singer.formant_scale, BAND_HZ, np.arange(len(BAND_HZ)))
    spectrum_db = _at(envelope_db.T, band).T + singer.bright_db * np.log2(np.clip(BIN_HZ, 800.0, 6_400.0) / 800.0)
    breath = np.where(aperiodicity[:, :1] > 0.5, 1.0, singer.breath)
    log_share = np.log(np.clip(aperiodicity * breath, 1e-3, 1.0))
    share = np.exp(_at(log_share.T, np.interp(BIN_HZ, APERIODICITY_HZ, np.arange(4.0))).T)
    return spectrum_db, share


def _voiced(f0_hz: np.ndarray, spectrum_db: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The harmonics, (n_frames * FRAME_SAMPLES,) float64."""
    log_amplitude = spectrum_db * (np.log(10) / 20)
    cepstrum = np.fft.irfft(log_amplitude, axis=1)
    cepstrum[:, 1 : N_FFT // 2] *= 2
    cepstrum[:, N_FFT // 2 + 1 :] = 0  # causal: minimum phase (Oppenheim & Schafer, "Discrete-time signal processing")
    phase = np.fft.rfft(cepstrum, axis=1).imag
    amplitude = np.exp(log_amplitude) * np.sqrt(np.clip(1 - share**2, 0, 1))
    return _synthesise(f0_hz, amplitude, phase, TOP_HZ, SAMPLE_RATE_HZ, FRAME_SAMPLES)


@njit(cache=True)
def _harmonics(f0_hz, amplitude, phase, top_hz, rate_hz, out):
    """Writes the complex amplitudes of all harmonics of one frame into `out`; returns how many there are."""
    n = min(len(out), int(top_hz / f0_hz))
    scale = 2.0 * np.sqrt(f0_hz / rate_hz)  # a train of pulses with the power of white noise of unit variance
    bins_per_hz = 2.0 * (len(amplitude) - 1) / rate_hz
    for k in range(1, n + 1):
        position = k * f0_hz * bins_per_hz
        low = int(position)
        share = position - low
        level = (1.0 - share) * amplitude[low] + share * amplitude[low + 1]
        angle = (1.0 - share) * phase[low] + share * phase[low + 1]
        fade = min(1.0, (top_hz - k * f0_hz) / 400.0)  # no harmonic pops in or out at the top
        out[k - 1] = scale * level * fade * complex(np.cos(angle), np.sin(angle))
    out[n:] = 0.0
    return n


@njit(cache=True)
def _synthesise(f0_hz, amplitude, phase, top_hz, rate_hz, frame_samples):
    """Sums the harmonics, their complex amplitudes interpolated linearly between frames."""
    n_frames = len(f0_hz)
    wave = np.zeros(n_frames * frame_samples)
    now, after = np.zeros(160, np.complex128), np.zeros(160, np.complex128)
    n_now = _harmonics(f0_hz[0], amplitude[0], phase[0], top_hz, rate_hz, now)
    angle = 0.0
    for frame in range(n_frames):
        to = min(frame + 1, n_frames - 1)
        n_after = _harmonics(f0_hz[to], amplitude[to], phase[to], top_hz, rate_hz, after)
        for i in range(frame_samples):
            share = i / frame_samples
            angle += 2.0 * np.pi * (f0_hz[frame] + share * (f0_hz[to] - f0_hz[frame])) / rate_hz
            step = complex(np.cos(angle), np.sin(angle))
            rotation = step
            total = 0.0
            for k in range(max(n_now, n_after)):
                total += ((now[k] + share * (after[k] - now[k])) * rotation).real
                rotation *= step
            wave[frame * frame_samples + i] = total
        now[:] = after
        n_now = n_after
    return wave


def _noise(spectrum_db: np.ndarray, share: np.ndarray) -> np.ndarray:
    """White noise shaped by the spectra, frame by frame with overlap-add, (n_frames * FRAME_SAMPLES,) float64."""
    n_frames, width = len(spectrum_db), 4 * FRAME_SAMPLES
    source = np.resize(_noise_source(), (n_frames + 4) * FRAME_SAMPLES)
    window = np.hanning(width + 1)[:-1] / 1.5**0.5  # squared and overlapped four times: 1
    pieces = np.lib.stride_tricks.sliding_window_view(source, width)[: n_frames * FRAME_SAMPLES : FRAME_SAMPLES]
    shaped = np.fft.irfft(np.fft.rfft(pieces * window, N_FFT) * 10 ** (spectrum_db / 20) * share, N_FFT)[:, :width]
    wave = np.zeros((n_frames + 4) * FRAME_SAMPLES)
    for quarter in range(4):
        part = (shaped * window)[:, quarter * FRAME_SAMPLES : (quarter + 1) * FRAME_SAMPLES]
        wave[quarter * FRAME_SAMPLES :][: n_frames * FRAME_SAMPLES] += part.ravel()
    return wave[2 * FRAME_SAMPLES :][: n_frames * FRAME_SAMPLES]


@lru_cache(maxsize=1)
def _noise_source() -> np.ndarray:
    """20 s of fixed white noise; every phrase reads it from the beginning."""
    return noise(20 * SAMPLE_RATE_HZ, 11)
