"""Songs that come as stems, one sound file per part: many remixes of each, on the grid of its tempo.

A song is resampled by less than 0.4 %, so that its bars are whole frames. In some remixes voices and instruments are
transposed, which takes a time stretch; percussion never is.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from kpop.audio.beat import BeatTrack, track_beats
from kpop.audio.io import read_audio
from kpop.audio.loudness import integrated_loudness, normalise
from kpop.audio.phase import reconstruct
from kpop.audio.stft import frame_count, stft_at
from kpop.constants import (
    BEATS_PER_BAR,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    LABEL_SIZES,
    N_METRE_POSITIONS,
    SAMPLE_RATE_HZ,
    STEPS_PER_BAR,
    TEMPO_BPM,
)
from kpop.errors import KpopError
from kpop.training.data import (
    Songs,
    TrainingSong,
    cached_song,
    to_int16,
    varispeed,
    zero_padded,
)
from kpop.training.loop import Report
from kpop.training.recordings import SILENCE_LUFS, SUFFIXES, content_key, folder_songs, sound_files

VERSION = 3  # of the remixes' sound: part of the cache key
BARS_PER_PHRASE = 4  # what metre positions count
MIN_STEMS = 3
LENGTH_TOLERANCE = round(0.1 * SAMPLE_RATE_HZ)  # between the stems of a song, in samples
PHRASES = (8, 15)  # shortest and longest excerpt: 61 to 115 s at 125 BPM
GROUP_DB = 4.0  # voices, percussion and others each get a gain from -4 to 4 dB
DROPPED_SHARE = 0.15  # of the stems, absent from a whole remix
RESTS = {"voices": 0.15, "percussion": 0.15, "some": 0.2}  # probabilities of who rests in a section of 4 or 8 bars
TRANSPOSED_SHARE = 1 / 3  # of the remixes
TRANSPOSITIONS = (-3, -2, -1, 1, 2, 3)  # semitones
FADE_SAMPLES = 160  # 10 ms before the bar line, so that onsets on it are whole
SOUNDING_POWER = 1e-6  # mean square, full scale = 1
ENTRY_SILENCE_S, ENTRY_LEVEL = 2.0, 0.03  # a stem enters after so much silence, at this share of its peak
STEM_WORD = re.compile(r"(?<![a-z])stems?(?![a-z])", re.IGNORECASE)
VOICES = re.compile(r"VOX|VOC|VOICE|CHOIR|CAPELLA", re.IGNORECASE)
PERCUSSION = re.compile(
    r"DRUM|KICK|SNARE|CLAP|CRASH|CYMBAL|PERC|PRC|BEAT|SHAKER|(?<![A-Z])(HH|HI-?HATS?|HATS?|TOMS?|TOPS?|RIDE|RIM|SN)(?![A-Z])",
    re.IGNORECASE,
)
NOT_THE_TITLE = re.compile(
    r"\d{2,3}(\.\d+)?[ _-]?bpm|(?<![a-z])(mix|remix|master|final|stems?)(?![a-z])", re.IGNORECASE
)
REMIX_NAME = re.compile(r"remix-\d+")


@dataclass(frozen=True)
class StemSong:
    """A song as stems."""

    groups: np.ndarray  # (n_stems,), what plays: "voices", "percussion" or "others"
    samples: np.ndarray  # int16 (n_stems, n_samples), 16 kHz
    beats: BeatTrack  # steady, from the start of a phrase of four bars on
    sounding: np.ndarray  # bool (n_stems, n_bars), whether a stem sounds in a bar; n_bars is a whole number of phrases

    @property
    def hop(self) -> int:
        """Samples between STFT frames at which its bars are STEPS_PER_BAR steps."""
        return round(HOP_LENGTH * TEMPO_BPM / self.beats.tempo_bpm)

    @property
    def speed(self) -> float:
        """Playback speed at which they are that exactly."""
        return HOP_LENGTH * TEMPO_BPM / self.beats.tempo_bpm / self.hop


@dataclass(frozen=True)
class Remix:
    """An excerpt of a song from its bar first_bar on, all but percussion transposed by semitones."""

    first_bar: int
    semitones: int
    gains: np.ndarray  # (n_stems, n_bars) amplitude factor of each stem in each bar, 0 where it rests


def remixed_songs(folder: Path, n_remixes: int, cache_folder: Path, n_jobs: int, report: Report) -> Songs:
    """All usable songs in the folder and its subfolders, and `n_remixes` remixes of each that comes as stems.

    A song's own mix follows the beats of its stems; other files are as `folder_songs` makes them. What is left out is
    reported with the reason. Raises KpopError when the folder has no sound files.
    """
    files, songs = sound_files(folder), []
    paths_of = stem_folders(folder, files)
    plain = [path for path in files if path.parent not in paths_of]
    for stem_folder, paths in paths_of.items():
        mixes = [path for path in plain if work_of(path.name) == work_of(stem_folder.name)]
        versions = [(f"{stem_folder.relative_to(folder)}/remix-{number:02d}", None) for number in range(n_remixes)]
        versions += [(str(path.relative_to(folder)), path) for path in mixes]
        content = [VERSION, n_remixes, [(path.name, content_key(path)) for path in paths + mixes]]
        key = hashlib.sha256(repr(content).encode()).hexdigest()[:24]
        read = cache(partial(read_stem_song, paths, report))  # only if a version is missing from the cache
        for number, (name, mix) in enumerate(versions):
            make = partial(_version, read, name, mix, number / max(n_remixes - 1, 1))
            try:
                songs.append(cached_song(cache_folder / f"{key}-{number:02d}", make))
            except (KpopError, OSError) as error:
                report(f"left out {name}: {error}")
                break  # the others would fail for the same reason
            report(f"ready: {name} ({len(songs[-1].waveform) / SAMPLE_RATE_HZ:.0f} s)")
    made = {song.name for song in songs}
    rest = [path for path in plain if str(path.relative_to(folder)) not in made]
    return songs + folder_songs(folder, cache_folder, n_jobs, report, rest)


def stem_folders(folder: Path, files: list[Path]) -> dict[Path, list[Path]]:
    """The subfolders of `folder` that hold stems, and their files.

    Such a folder holds three sound files or more, and the word "stem" is in its path below `folder` or in the name of
    each file; otherwise an album would be taken for one song.
    """
    found = {}
    for subfolder in sorted({path.parent for path in files} - {folder}):
        paths = [path for path in files if path.parent == subfolder]
        in_path = STEM_WORD.search(str(subfolder.relative_to(folder)))
        if len(paths) >= MIN_STEMS and (in_path or all(STEM_WORD.search(path.stem) for path in paths)):
            found[subfolder] = paths
    return found


def work_of(name: str) -> str:
    """The song that a version belongs to: "1 hydrogen" for "stems/1.Hydrogen/remix-03" and
    for "mixes/1_Hydrogen_mix_132bpm.ogg"."""
    path = PurePosixPath(name.replace("\\", "/"))
    if REMIX_NAME.fullmatch(path.name) and path.parent.name:
        path = path.parent
    title = path.stem if path.suffix.lower() in SUFFIXES else path.name
    words = re.findall(r"[^\W_]+", NOT_THE_TITLE.sub(" ", title.replace("_", " ")).lower())
    return " ".join(words) or title.lower()


def read_stems(paths: list[Path], report: Report) -> tuple[np.ndarray, np.ndarray]:
    """(groups, samples) of the stems in these files; broken ones, and those not as long as most, are reported.

    Raises KpopError when fewer than three are left.
    """
    words = {path: re.split("[_ -]", path.stem) for path in paths}
    title = set.intersection(*map(set, words.values()))  # words that all names share say nothing about the groups
    waveforms: dict[Path, np.ndarray] = {}
    for path in paths:
        try:
            waveforms[path] = to_int16(read_audio(path))
        except KpopError as error:
            report(f"left out {path.parent.name}/{path.name}: {error}")
    n_samples = int(np.median([len(samples) for samples in waveforms.values()] or [0]))
    for path, samples in list(waveforms.items()):
        if abs(len(samples) - n_samples) > LENGTH_TOLERANCE:
            report(f"left out {path.parent.name}/{path.name}: it is not as long as the other stems.")
            del waveforms[path]
    if len(waveforms) < MIN_STEMS:
        raise KpopError(f"it holds {len(waveforms)} stems of equal length, a song needs {MIN_STEMS} or more.")
    groups = [group_of(" ".join(word for word in words[path] if word not in title)) for path in waveforms]
    return np.array(groups), np.stack([zero_padded(samples, 0, n_samples) for samples in waveforms.values()])


def group_of(name: str) -> str:
    """What plays in a stem of this name: "voices", "percussion" or "others"."""
    return "voices" if VOICES.search(name) else "percussion" if PERCUSSION.search(name) else "others"


def read_stem_song(paths: list[Path], report: Report) -> StemSong:
    """The song whose stems are in these files.

    Raises KpopError when there are not enough, or all are silent, or they have no steady tempo.
    """
    groups, samples = read_stems(paths, report)
    beats = stem_beats(groups, samples)
    phrase_s = 60 / beats.tempo_bpm * BEATS_PER_BAR * BARS_PER_PHRASE
    n_phrases = int(np.ceil((samples.shape[1] / SAMPLE_RATE_HZ - beats.beats_s[0]) / phrase_s))
    bars = list(pairwise(bar_samples(beats, 0, n_phrases * BARS_PER_PHRASE)))
    powers = [[np.square(zero_padded(stem, *bar) / np.float32(32767)).mean() for bar in bars] for stem in samples]
    sounding = np.array(powers) > SOUNDING_POWER
    phrases = np.flatnonzero(sounding.any(0).reshape(n_phrases, BARS_PER_PHRASE).any(1))
    if not phrases.size:
        raise KpopError("it is silent.")
    sounding = sounding[:, phrases[0] * BARS_PER_PHRASE : (phrases[-1] + 1) * BARS_PER_PHRASE]
    song = StemSong(groups, samples, replace(beats, beats_s=beats.beats_s + phrases[0] * phrase_s), sounding)
    report(f"{paths[0].parent.name}: {beats.tempo_bpm:.3f} BPM")
    return song


def stem_beats(groups: np.ndarray, samples: np.ndarray) -> BeatTrack:
    """The beats of all stems together, from a bar on at which most of them enter. KpopError without a steady tempo."""
    beats = track_beats(samples.sum(0, dtype=np.float32) / 32767)
    if not beats.is_steady:
        raise KpopError("it has no steady tempo that remixes could be cut by.")
    bar_s = 60 / beats.tempo_bpm * BEATS_PER_BAR
    entries_s = np.concatenate([_entries_s(stem) for stem in samples[groups != "voices"]] or [[]])
    bars = (entries_s - beats.beats_s[0]) / bar_s
    on_bar_lines = np.rint(bars[np.abs(bars - np.rint(bars)) < 1 / 32]).astype(int) % BARS_PER_PHRASE
    bar = int(np.bincount(on_bar_lines, minlength=BARS_PER_PHRASE).argmax())
    return replace(beats, beats_s=beats.beats_s - (-bar % BARS_PER_PHRASE) * bar_s)


def bar_samples(beats: BeatTrack, first_bar: int, n_bars: int) -> np.ndarray:
    """Samples int64 (n_bars + 1,) at which bars begin and the last one ends; below 0 before the recording."""
    bars_s = beats.beats_s[0] + np.arange(first_bar, first_bar + n_bars + 1) * BEATS_PER_BAR * 60 / beats.tempo_bpm
    return np.rint(bars_s * SAMPLE_RATE_HZ).astype(int)


def draw_remix(sounding: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator) -> Remix:
    """A random remix of stems that sound in `sounding` (n_stems, n_bars); `share` 0..1 is its position in the song."""
    n_phrases = sounding.shape[1] // BARS_PER_PHRASE
    length = min(n_phrases, int(rng.integers(PHRASES[0], PHRASES[1] + 1)))
    first_bar, n_bars = BARS_PER_PHRASE * round(share * (n_phrases - length)), BARS_PER_PHRASE * length
    group_db = {group: rng.uniform(-GROUP_DB, GROUP_DB) for group in ("voices", "percussion", "others")}
    semitones = int(rng.choice(TRANSPOSITIONS)) if rng.random() < TRANSPOSED_SHARE else 0
    gains = 10 ** (np.array([[group_db[group]] for group in groups]) / 20)
    plays = _draw_plays(sounding[:, first_bar : first_bar + n_bars], groups, rng)
    return Remix(first_bar, semitones, gains * plays)


def _draw_plays(sounding: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which stems play when, bool (n_stems, n_bars); phrases that would be silent keep all their stems."""
    n_stems, n_bars = sounding.shape
    plays = np.repeat(rng.random((n_stems, 1)) >= DROPPED_SHARE, n_bars, axis=1)
    bar = 0
    while bar < n_bars:
        n_section = BARS_PER_PHRASE * int(rng.integers(1, 3))
        resting = rng.choice([*RESTS, "nobody"], p=[*RESTS.values(), 1 - sum(RESTS.values())])
        rests = (groups == "others") & (rng.random(n_stems) < 0.5) if resting == "some" else groups == resting
        plays[rests, bar : bar + n_section] = False
        bar += n_section
    is_heard = (sounding & plays).any(0).reshape(-1, BARS_PER_PHRASE).any(1)
    plays[:, np.repeat(~is_heard, BARS_PER_PHRASE)] = True
    return plays


def render(remix: Remix, song: StemSong) -> np.ndarray:
    """Waveform float32 (n_bars * STEPS_PER_BAR * FRAMES_PER_STEP * song.hop,) of a remix."""
    n_bars = remix.gains.shape[1]
    edges = bar_samples(song.beats, remix.first_bar, n_bars)
    times = np.column_stack([edges[:-1], edges[1:] - FADE_SAMPLES]).ravel()  # gains change just before bar lines
    percussion, tonal = np.zeros((2, edges[-1] - edges[0]), np.float32)
    for group, samples, gains in zip(song.groups, song.samples, remix.gains, strict=True):
        if gains.any():
            gain = np.interp(np.arange(edges[0], edges[-1]), times, np.repeat(gains / 32767, 2)).astype(np.float32)
            side = percussion if group == "percussion" else tonal
            side += zero_padded(samples, edges[0], edges[-1]) * gain
    if remix.semitones:
        tonal = transpose(tonal, remix.semitones)
    return zero_padded(
        varispeed(percussion + tonal, song.speed), 0, n_bars * STEPS_PER_BAR * FRAMES_PER_STEP * song.hop
    )


def transpose(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """The waveform (n_samples,) transposed, of the same length.

    Time-stretched by a phase vocoder with phase gradient heap integration (Prusa & Holighaus 2017, "Phase vocoder done
    right"), then resampled.
    """
    ratio = 2 ** (semitones / 12)
    n_stretched = round(len(waveform) * ratio)
    centres = np.round(np.arange(frame_count(n_stretched)) * (HOP_LENGTH / ratio)).astype(int)
    magnitude = np.abs(stft_at(waveform, np.minimum(centres, len(waveform))))
    return zero_padded(varispeed(reconstruct(magnitude, n_stretched), ratio), 0, len(waveform))


def _version(read: Callable[[], StemSong], name: str, mix: Path | None, share: float) -> TrainingSong:
    """A remix, drawn by its name, from about this share of the song on; or the song's own mix. KpopError if silent."""
    song = read()
    if mix is None:
        rng = np.random.default_rng([*hashlib.sha256(name.encode()).digest()])
        remix = draw_remix(song.sounding, song.groups, share, rng)
    else:
        samples = to_int16(read_audio(mix))
        if abs(len(samples) - song.samples.shape[1]) > LENGTH_TOLERANCE:
            raise KpopError("it is not as long as its stems, so they don't tell where its beats are.")
        remix = Remix(0, 0, np.ones((1, song.sounding.shape[1])))
        song = replace(song, groups=np.array(["others"]), samples=samples[None])
    waveform = render(remix, song)
    if integrated_loudness(waveform) < SILENCE_LUFS:
        raise KpopError("it is silent.")
    samples = to_int16(normalise(waveform), song.hop * FRAMES_PER_STEP)
    n_steps = len(samples) // (song.hop * FRAMES_PER_STEP)
    metre_positions = (np.arange(n_steps) % N_METRE_POSITIONS).astype(np.int16)
    return TrainingSong(name, samples, metre_positions, np.zeros((n_steps, len(LABEL_SIZES)), np.uint8), song.hop)


def _entries_s(samples: np.ndarray) -> np.ndarray:
    """Times (n,) in seconds at which a stem (n_samples,) int16 enters after silence."""
    block = SAMPLE_RATE_HZ // 100
    peaks = np.abs(samples[: len(samples) // block * block].reshape(-1, block).astype(np.int32)).max(1)
    loud_s = np.flatnonzero(peaks > ENTRY_LEVEL * peaks.max(initial=1)) / 100
    return loud_s[np.diff(loud_s, prepend=-ENTRY_SILENCE_S) >= ENTRY_SILENCE_S]
