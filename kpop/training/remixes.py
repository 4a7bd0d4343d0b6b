"""The parts of a song, one sound file each: which folders hold them, what they are, and which song they belong to.

Many arrangements from few songs: remixes of their stems, brought to our tempo and laid on our grid.

A song near 125 BPM is played faster or slower as a record player does it (varispeed): that leaves strokes sharp and
moves the pitch, by less than a semitone at 132 BPM. Voices and instruments of some remixes are moved on to another
key, which takes a time stretch; percussion never is, so that strokes stay sharp.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from kpop.audio.beat import (
    BARS_PER_PHRASE,
    NAMED_TEMPO,
    STEADY_CLEAR,
    Beat,
    metronome,
    named_tempo,
    residuals_ms,
    steady_beat,
)
from kpop.audio.io import read_audio
from kpop.audio.loudness import integrated_loudness, normalise
from kpop.audio.phase import reconstruct
from kpop.audio.stft import ANALYSIS_WINDOW, frame_count
from kpop.constants import BAR_SAMPLES, HOP_LENGTH, N_FFT, N_METRE_POSITIONS, SAMPLE_RATE_HZ, STEP_SAMPLES, TEMPO_BPM
from kpop.errors import KpopError
from kpop.training.data import (
    SILENCE_LUFS,
    Song,
    cached_song,
    content_key,
    no_labels,
    sound_files,
    to_int16,
    usable_songs,
)

FEWEST_STEMS = 3
ALIKE_S = 0.1  # stems of one song differ in length by no more than this
STEM_WORD = re.compile(r"(?<![a-z])stems?(?![a-z])", re.IGNORECASE)
VOICES = re.compile(r"VOX|VOC|VOICE|CHOIR|CAPELLA", re.IGNORECASE)
PERCUSSION = re.compile(
    r"DRUM|KICK|SNARE|CLAP|CRASH|CYMBAL|PERC|PRC|BEAT|SHAKER|(?<![A-Z])(HH|HI-?HATS?|HATS?|TOMS?|TOPS?|RIDE|RIM|SN)(?![A-Z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Stem:
    """One part of a song. group: "voices", "percussion" or "others"; samples: (n_samples,) int16 at 16 kHz."""

    name: str
    group: str
    samples: np.ndarray


def stem_folders(folder: Path, files: list[Path]) -> dict[Path, list[Path]]:
    """The sub-folders of `folder` that hold stems, and their files.

    Such a folder holds three sound files or more, and the word "stem" stands in its path below `folder` or in the
    name of each file; without it an album of songs would be taken for one song.
    """
    found = {}
    for place in sorted({path.parent for path in files} - {folder}):
        paths = [path for path in files if path.parent == place]
        named = STEM_WORD.search(str(place.relative_to(folder))) or all(STEM_WORD.search(path.stem) for path in paths)
        if len(paths) >= FEWEST_STEMS and named:
            found[place] = paths
    return found


def read_stems(paths: list[Path], report: Callable[[str], None]) -> list[Stem]:
    """The stems in these files; each that is broken or not as long as most is reported and left out.

    Raises KpopError when fewer than three are left.
    """
    n_title = _title_length([path.stem for path in paths])
    stems = []
    for path in paths:
        try:
            stems.append(Stem(path.name, group_of(path.stem[n_title:]), to_int16(read_audio(path))))
        except KpopError as error:
            report(f"left out {path.parent.name}/{path.name}: {error}")
    usual = np.median([len(stem.samples) for stem in stems]) if stems else 0
    alike = []
    for stem in stems:
        if abs(len(stem.samples) - usual) <= ALIKE_S * SAMPLE_RATE_HZ:
            alike.append(stem)
        else:
            report(f"left out {paths[0].parent.name}/{stem.name}: it is not as long as the other stems.")
    if len(alike) < FEWEST_STEMS:
        raise KpopError(f"it holds {len(alike)} stems of equal length, a song needs {FEWEST_STEMS} or more.")
    return alike


def group_of(name: str) -> str:
    """What plays in a stem, by its name: "voices", "percussion" or "others"."""
    if VOICES.search(name):
        return "voices"
    return "percussion" if PERCUSSION.search(name) else "others"


def _title_length(names: list[str]) -> int:
    """Characters of the words that all names begin with: the song's title tells nothing of who plays."""
    first, last = min(names), max(names)
    n_same = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return max(first.rfind(mark, 0, n_same) for mark in "_- ") + 1


VERSION = 1  # goes up with every change of what a remix sounds like, so that a stale cache is never used
PHRASES = (8, 15)  # shortest and longest excerpt: 61 to 115 s on our grid
GROUP_DB = 4.0  # voices, percussion and others each get a gain from -4 to 4 dB
ABSENT = 0.15  # share of the stems that are missing from a whole remix
RESTS = {"voices": 0.15, "percussion": 0.15, "some": 0.2}  # chances of who is silent in a section of 4 or 8 bars
MOVED = 1 / 3  # share of the remixes in another key
MOVES = (-3, -2, -1, 1, 2, 3)  # semitones
FADE_SAMPLES = 160  # 10 ms before the bar line, so that what begins on it is whole
SOUNDING_POWER = 1e-6
NOT_THE_TITLE = re.compile(rf"{NAMED_TEMPO.pattern}|(?<![a-z])(mix|remix|master|final|stems?)(?![a-z])", re.IGNORECASE)
REMIX_NAME = re.compile(r"remix-\d+")


@dataclass(frozen=True)
class Remix:
    """What a remix is made of.

    first_bar, n_bars: the excerpt, in bars of the song; semitones: how far voices and others are moved
    gains_db: (n_stems,); plays: (n_stems, n_bars) bool
    """

    first_bar: int
    n_bars: int
    semitones: int
    gains_db: np.ndarray
    plays: np.ndarray


class Work:
    """A song as stems; they are read when a remix is first asked for."""

    def __init__(self, name: str, paths: list[Path], mixes: list[Path], report: Callable[[str], None]) -> None:
        self.name, self._paths, self._report = name, paths, report
        self._named_bpm = named_tempo([path.name for path in mixes] + [name] + [path.name for path in paths])

    @cached_property
    def stems(self) -> list[Stem]:
        """Its stems. Raises KpopError when there are not enough."""
        return read_stems(self._paths, self._report)

    @cached_property
    def groups(self) -> np.ndarray:
        """Group (n_stems,) of each stem."""
        return np.array([stem.group for stem in self.stems])

    @cached_property
    def n_samples(self) -> int:
        """Length of the longest stem."""
        return max(len(stem.samples) for stem in self.stems)

    @cached_property
    def beat(self) -> Beat:
        """Its beat, reported with how far the percussion is from it."""
        percussion = self._sum("percussion") if "percussion" in self.groups else self._sum()
        entries_s = np.concatenate([_entries_s(stem.samples) for stem in self.stems if stem.group != "voices"] or [[]])
        beat = steady_beat(percussion, self._sum(), entries_s, self._named_bpm)
        if beat.clarity < STEADY_CLEAR:
            self._report(f"{self.name}: no steady beat found, so it keeps its own tempo")
            return beat
        late = "/".join(f"{late_ms:+.1f}" for late_ms in residuals_ms(percussion, beat))
        tempo = f"{beat.bpm:.3f} BPM, played at {beat.bpm * beat.speed:.5g}"
        self._report(f"{self.name}: {tempo}; beats late by {late} ms at its beginning, middle and end")
        return beat

    @cached_property
    def sounding(self) -> np.ndarray:
        """Whether a stem sounds in a bar: bool (n_stems, n_bars), bar 0 at the beat's downbeat."""
        n_bars = int((self.n_samples / SAMPLE_RATE_HZ - self.beat.downbeat_s) / self.beat.bar_s)
        edges = [bar_sample(self.beat, bar) for bar in range(n_bars + 1)]
        return np.array(
            [[_power(stem.samples, *edge) > SOUNDING_POWER for edge in pairwise(edges)] for stem in self.stems]
        )

    @cached_property
    def span(self) -> tuple[int, int]:
        """First bar and one past the last of the whole phrases in which there is any sound."""
        bars = np.flatnonzero(self.sounding.any(0))
        if not bars.size:
            raise KpopError("it is silent.")
        first = bars[0] // BARS_PER_PHRASE * BARS_PER_PHRASE
        last = -(-(bars[-1] + 1) // BARS_PER_PHRASE) * BARS_PER_PHRASE
        return int(first), int(last)

    def remix(self, number: int, n_remixes: int) -> Song:
        """Remix `number` of `n_remixes`: always the same."""
        rng = np.random.default_rng([number, *hashlib.sha256(work_of(self.name).encode()).digest()])
        remix = draw_remix(self.sounding, self.groups, self.span, number / max(n_remixes - 1, 1), rng)
        return song_on_grid(f"{self.name}/remix-{number:02d}", render(remix, self.stems, self.beat), self.beat)

    def on_grid(self, path: Path, name: str) -> Song:
        """The song's own mix, brought to the grid as the remixes are. KpopError when it isn't as long as the stems."""
        mix = to_int16(read_audio(path))
        if abs(len(mix) - self.n_samples) > ALIKE_S * SAMPLE_RATE_HZ:
            raise KpopError("it is not as long as its stems, so they don't tell where its beats are.")
        first, last = self.span
        whole = Remix(first, last - first, 0, np.zeros(1), np.ones((1, last - first), bool))
        return song_on_grid(name, render(whole, [Stem(name, "others", mix)], self.beat), self.beat)

    def _sum(self, group: str | None = None) -> np.ndarray:
        total = np.zeros(self.n_samples, np.float32)
        for stem in self.stems:
            if group in (None, stem.group):
                total[: len(stem.samples)] += stem.samples * np.float32(1 / 32767)
        return total


def remixed_songs(folder: Path, n_remixes: int, cache: Path, report: Callable[[str], None]) -> list[Song]:
    """All usable songs in the folder and the folders in it, and `n_remixes` versions of each that comes as stems.

    A song's own mix follows the grid of its stems; other files are as `folder_songs` makes them. What is left out is
    reported with the reason. Raises KpopError when the folder is missing or holds nothing usable.
    """
    files = sound_files(folder)
    works = stem_folders(folder, files)
    plain = [path for path in files if path.parent not in works]
    songs = []
    for place, paths in works.items():
        name = str(place.relative_to(folder))
        mixes = [path for path in plain if work_of(path.name) == work_of(name)]
        songs += _versions(Work(name, paths, mixes, report), paths, mixes, folder, n_remixes, cache, report)
    made = {song.name for song in songs}
    rest = [path for path in plain if str(path.relative_to(folder)) not in made]
    songs += usable_songs(rest, folder, cache, report)
    if not songs:
        raise KpopError(f"None of the {len(files)} files in {folder} can be used: see the reasons above.")
    return songs


def work_of(name: str) -> str:
    """The song that a version of it belongs to: "1 hydrogen" for "stems/1.Hydrogen/remix-03" and
    for "mixes/1_Hydrogen_mix_132bpm.ogg"."""
    parts = name.replace("\\", "/").rstrip("/").split("/")
    title = parts[-2] if len(parts) > 1 and REMIX_NAME.fullmatch(parts[-1]) else parts[-1]
    title = re.sub(r"\.(wav|flac|og[ga]|opus|mp3|aiff?|au|caf|w64)$", "", title, flags=re.IGNORECASE)
    words = re.findall(r"[^\W_]+", NOT_THE_TITLE.sub(" ", title.replace("_", " ")).lower())
    return " ".join(words) or title.lower()


def split_by_work(songs: Iterable[Song], held_out_work: str | None = None) -> tuple[list[Song], list[Song]]:
    """(training songs, held-out songs): every version of one work is held out; without a name, a lot decides.

    Raises KpopError when there is no such work or only one.
    """
    songs = list(songs)
    works = sorted({work_of(song.name) for song in songs}, key=lambda work: hashlib.sha256(work.encode()).digest())
    if len(works) < 2:
        raise KpopError("Training needs at least two songs, one of them to be held out: add more songs.")
    chosen = works[0] if held_out_work is None else work_of(held_out_work)
    if chosen not in works:
        raise KpopError(f"There is no song {held_out_work} to hold out: choose one of {', '.join(sorted(works))}.")
    sides = [[song for song in songs if (work_of(song.name) == chosen) == held] for held in (False, True)]
    return sides[0], sides[1]


def draw_remix(
    sounding: np.ndarray, groups: np.ndarray, span: tuple[int, int], share: float, rng: np.random.Generator
) -> Remix:
    """A remix of stems that sound in `sounding` (n_stems, n_bars); `share`, 0..1, is where in `span` it lies."""
    n_phrases = (span[1] - span[0]) // BARS_PER_PHRASE
    length = min(n_phrases, int(rng.integers(PHRASES[0], PHRASES[1] + 1)))
    first_bar = span[0] + BARS_PER_PHRASE * round(share * (n_phrases - length))
    n_bars = BARS_PER_PHRASE * length
    heard = np.zeros((len(groups), n_bars), bool)
    inside = sounding[:, first_bar : first_bar + n_bars]
    heard[:, : inside.shape[1]] = inside
    group_db = {group: rng.uniform(-GROUP_DB, GROUP_DB) for group in ("voices", "percussion", "others")}
    semitones = int(rng.choice(MOVES)) if rng.random() < MOVED else 0
    return Remix(
        first_bar, n_bars, semitones, np.array([group_db[group] for group in groups]), _plays(heard, groups, rng)
    )


def _plays(heard: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which stems play when, bool (n_stems, n_bars); four bars that would fall silent keep all their stems."""
    n_stems, n_bars = heard.shape
    plays = np.repeat(rng.random((n_stems, 1)) >= ABSENT, n_bars, axis=1)
    bar = 0
    while bar < n_bars:
        n_section = BARS_PER_PHRASE * int(rng.integers(1, 3))
        plays[_resting(groups, rng), bar : bar + n_section] = False
        bar += n_section
    phrases = (heard & plays).any(0).reshape(-1, BARS_PER_PHRASE).any(1)
    plays[:, np.repeat(~phrases, BARS_PER_PHRASE)] = True
    return plays


def _resting(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Who is silent in a section: bool (n_stems,)."""
    who = rng.choice([*RESTS, "nobody"], p=[*RESTS.values(), 1 - sum(RESTS.values())])
    return (groups == "others") & (rng.random(len(groups)) < 0.5) if who == "some" else groups == who


def render(remix: Remix, stems: list[Stem], beat: Beat) -> np.ndarray:
    """Waveform float32 of a remix, on the grid where the beat is near it: then (n_bars * BAR_SAMPLES,)."""
    start = bar_sample(beat, remix.first_bar)
    edges = np.array([bar_sample(beat, remix.first_bar + bar) for bar in range(remix.n_bars + 1)]) - start
    percussion, tonal = np.zeros((2, edges[-1]), np.float32)
    for stem, gain_db, plays in zip(stems, remix.gains_db, remix.plays, strict=True):
        if plays.any():
            part = _cut(stem.samples, start, edges[-1]) * np.float32(10 ** (gain_db / 20) / 32767)
            side = percussion if stem.group == "percussion" else tonal
            side += part if plays.all() else part * _gate(edges, plays)
    n_samples = round(edges[-1] / beat.speed) if beat.speed == 1 else remix.n_bars * BAR_SAMPLES
    percussion, tonal = (_fitted(varispeed(side, beat.speed), n_samples) for side in (percussion, tonal))
    if remix.semitones:
        moved = 12 * np.log2(beat.speed)  # the key that it lands in is one of A = 440 Hz
        tonal = transpose(tonal, remix.semitones + round(moved) - moved)
    return percussion + tonal


def song_on_grid(name: str, waveform: np.ndarray, beat: Beat) -> Song:
    """Song at our loudness of a waveform that begins with four bars of the beat. KpopError when it is silent."""
    if integrated_loudness(waveform) < SILENCE_LUFS:
        raise KpopError("it is silent.")
    waveform = normalise(waveform)
    n_steps = len(waveform) // STEP_SAMPLES
    if beat.clarity < STEADY_CLEAR:
        slots, _ = metronome(waveform)
    else:
        rate = beat.bpm * beat.speed / TEMPO_BPM
        slots = np.floor(np.arange(n_steps) * rate + 1e-6) % N_METRE_POSITIONS
    return Song(name, to_int16(waveform), slots.astype(np.int16), no_labels(n_steps))


def varispeed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """The waveform (n_samples,) as a record player at `speed` plays it: n_samples / speed, pitch times speed."""
    import soxr  # here, because training on our own corpus does without it

    return waveform if speed == 1 else soxr.resample(waveform, speed, 1.0, quality="HQ").astype(np.float32)


def transpose(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """The waveform (n_samples,) in another key, as long as before.

    Stretched by reading its spectra nearer together or farther apart than they are laid down again (phase gradient
    heap integration; Prusa & Holighaus 2017, "Phase vocoder done right"), then varispeed.
    """
    ratio = 2 ** (semitones / 12)
    n_stretched = round(len(waveform) * ratio)
    centres = np.round(np.arange(frame_count(n_stretched)) * (HOP_LENGTH / ratio)).astype(int)
    padded = np.pad(waveform, (N_FFT // 2, N_FFT + HOP_LENGTH))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)
    magnitude = np.concatenate(
        [
            np.abs(np.fft.rfft(frames[some] * ANALYSIS_WINDOW))
            for some in np.array_split(centres, len(centres) // 256 + 1)
        ]
    )
    return _fitted(varispeed(reconstruct(magnitude.astype(np.float32), n_stretched), ratio), len(waveform))


def bar_sample(beat: Beat, bar: int) -> int:
    """Sample of the song at which a bar begins; below 0 before the recording."""
    return round((beat.downbeat_s + bar * beat.bar_s) * SAMPLE_RATE_HZ)


def _versions(
    work: Work,
    paths: list[Path],
    mixes: list[Path],
    folder: Path,
    n_remixes: int,
    cache: Path,
    report: Callable[[str], None],
) -> Iterator[Song]:
    """The remixes of a work and its mixes; each left out is reported with the reason."""
    content = [VERSION, n_remixes, [(path.name, content_key(path)) for path in paths + mixes]]
    key = hashlib.sha256(repr(content).encode()).hexdigest()[:24]
    makers = {f"{work.name}/remix-{n:02d}": lambda n=n: work.remix(n, n_remixes) for n in range(n_remixes)}
    for path in mixes:
        name = str(path.relative_to(folder))
        makers[name] = lambda path=path, name=name: work.on_grid(path, name)
    for number, (name, make) in enumerate(makers.items()):
        try:
            song = cached_song(cache / f"{key}-{number:02d}.npz", make)
        except (KpopError, OSError) as error:
            report(f"left out {name}: {error}")
            return  # the others would fail for the same reason
        else:
            report(f"ready: {name} ({len(song.waveform) / SAMPLE_RATE_HZ:.0f} s)")
            yield song


def _entries_s(samples: np.ndarray) -> np.ndarray:
    """Moments (n,) in seconds at which a stem (n_samples,) int16 begins to sound after two seconds of silence."""
    block = SAMPLE_RATE_HZ // 100
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    loud = np.flatnonzero(np.abs(blocks).max(1).astype(int) > 0.03 * np.abs(blocks).max(initial=1))
    return loud[np.diff(loud, prepend=-200) >= 200] / 100


def _power(samples: np.ndarray, start: int, stop: int) -> float:
    """Mean square of int16 samples from start to stop, full scale = 1; 0 outside of the recording."""
    part = samples[max(start, 0) : max(stop, 0)].astype(np.float32) / 32767
    return float(np.dot(part, part)) / (stop - start)


def _cut(samples: np.ndarray, start: int, n_samples: int) -> np.ndarray:
    """`n_samples` from `start`, which may lie before the recording; zeros outside of it."""
    part = samples[max(start, 0) : max(start + n_samples, 0)]
    before = min(max(-start, 0), n_samples)
    return np.pad(part, (before, n_samples - before - len(part)))


def _gate(edges: np.ndarray, plays: np.ndarray) -> np.ndarray:
    """Gain float32 (n_samples,) that is 1 in the bars that a stem plays; it changes just before the bar line."""
    moments = np.column_stack([edges[:-1], edges[1:] - FADE_SAMPLES]).ravel()
    return np.interp(np.arange(edges[-1]), moments, np.repeat(plays.astype(np.float32), 2)).astype(np.float32)


def _fitted(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """The waveform cut, or filled with zeros, to `n_samples`."""
    return np.pad(waveform[:n_samples], (0, max(n_samples - len(waveform), 0)))
