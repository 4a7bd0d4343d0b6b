"""The evaluation of a model: generated songs, unseen songs and controls measured side by side, as a table and JSON."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
from tqdm import tqdm

from kpop.audio.loudness import normalise
from kpop.constants import (
    FRAMES_PER_STEP,
    SAMPLE_RATE_HZ,
    SEED_STEPS,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_S,
    STEPS_PER_SIXTEENTH,
)
from kpop.evaluation import fidelity, measures
from kpop.evaluation.measures import SongFeatures
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.pipeline import Pipeline, codec_copy
from kpop.generation.seed import clip_hop
from kpop.generation.session import generate
from kpop.lstm.sampler import Chunk
from kpop.settings import LENGTH_RANGE_S, GeneratedSong, Settings
from kpop.similarity.build import FIRST_UNSEEN
from kpop.similarity.index import SimilarityIndex
from kpop.training.data import INT16_SCALE, Songs, TokenSequence, corpus_song, encode_song
from kpop.training.loop import Report
from kpop.training.lstm import Sequences, unigram_bits

GENERATED, REFERENCE, COPIES = "generated songs", "unheard songs", "their codec copies"
UNIGRAM, BARS, SIXTEENTHS, NOISE = "unigram tokens", "bars shuffled", "sixteenths shuffled", "pink noise"
ROWS = (GENERATED, REFERENCE, COPIES, UNIGRAM, BARS, SIXTEENTHS, NOISE)
COLUMNS = {  # title, and the control: the row that is 1 on the normalised scale
    "bits_per_step": ("bits a step", UNIGRAM),
    "pulse_clarity": ("pulse clarity", NOISE),
    "tempo_error_percent": ("tempo error %", SIXTEENTHS),
    "key_clarity": ("key clarity", NOISE),
    "progression_bars": ("progression", BARS),  # right chords in the wrong order
    "hooks_return": ("hooks return", BARS),  # of songs of HOOK_SONG_S
    "band_balance_db": ("balance dB", NOISE),
    "frechet_distance": ("Frechet", SIXTEENTHS),  # against noise, all else would look close
    "diversity": ("diversity", NOISE),  # noises are alike
    "similarity": ("similarity", ""),
    "crest_db": ("crest dB", ""),
}
SCALE = f"raw mean, (normalised: 0 as {REFERENCE}, 1 as the control *, with its 95 % interval in the last column)"
FIRST_BAR = 16  # of reference songs: past the intro, like what follows a seed
HOOK_SONG_S = 180.0
FALSE_HOOKS = 0.05  # share of choruses with rotated bars that are taken for the same
N_BITS_SONGS, N_CODEC_SONGS = 10, 4  # of the songs, for what takes long and varies little
COLLAPSE_TEMPERATURES, COLLAPSE_SEEDS, COLLAPSE_LENGTH_S = (0.7, 1.0, 1.2), 3, 290.0
N_BOOTSTRAP = 1_000


class Excerpt(NamedTuple):
    """A waveform (n_samples,) float32 that begins with a bar, and the hop length at which bars are whole frames."""

    waveform: np.ndarray
    hop: int

    @property
    def sixteenth_samples(self) -> int:
        """Samples in a sixteenth."""
        return self.hop * FRAMES_PER_STEP * STEPS_PER_SIXTEENTH

    @property
    def bar_samples(self) -> int:
        """Samples in a bar."""
        return self.sixteenth_samples * SIXTEENTHS_PER_BAR

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> "Excerpt":
        """With another waveform."""
        return Excerpt(change(self.waveform), self.hop)


Values = dict[str, np.ndarray]  # row -> (n_songs,)
progress = partial(tqdm, unit="song", leave=False, disable=None)


def evaluate(pipeline: Pipeline, n_songs: int, seconds: float, index: Path, report: Report) -> dict:
    """Measure n_songs per row of `seconds` each, seeds not counted; report the table and the codec's figures line by
    line, and return them for JSON. index: file of the similarity index, if any."""
    songs, table = unseen_songs(n_songs), Table()
    rows = row_waveforms(pipeline, songs, seconds)
    analyse = measures.analyse_song
    table.add_features({row: [analyse(*song) for song in progress(each, row)] for row, each in rows.items()})
    if index.is_file():
        search = SimilarityIndex.load(index).search
        musical = {row: each for row, each in rows.items() if row != NOISE}  # noise cannot copy
        matches = {
            row: [search(song.waveform, 0, song.bar_samples) for song in progress(each, "similarity")]
            for row, each in musical.items()
        }
        table.add("similarity", per_song(matches, lambda match: match.similarity if match else 0.0))
    else:
        report(f"The similarity to training songs is left out: there is no {index}.")
    table.add("hooks_return", hook_rows(pipeline, songs))
    sequences = [encode_song(song, pipeline.codec) for song in songs[:N_BITS_SONGS]]
    table.add("bits_per_step", bits_of_rows(pipeline, sequences, seconds))
    figures = fidelity.codec_figures(pipeline.codec, songs[:N_CODEC_SONGS])
    codec_lines = (f"{name.replace('_', ' '):<36} {value:8.2f}" for name, value in figures.items())
    for line in ("", *table.lines(), "", *codec_lines):
        report(line)
    return table.as_json() | {"codec": figures}


def per_song(rows: dict[str, Iterable], value: Callable[..., float]) -> Values:
    """Row -> value of each of its songs."""
    return {row: np.array([value(song) for song in songs]) for row, songs in rows.items()}


def unseen_songs(n_songs: int) -> Songs:
    """Composed songs that no model was trained on."""
    return [corpus_song(FIRST_UNSEEN + index) for index in progress(range(n_songs), "composing and rendering")]


def excerpts(songs: Songs, n_samples: int) -> list[Excerpt]:
    """n_samples of each song from FIRST_BAR on, earlier where the song would end before."""
    found = []
    for song in songs:
        bar = song.step_samples * STEPS_PER_BAR
        start = min(FIRST_BAR, max(len(song.waveform) - n_samples, 0) // bar) * bar
        found.append(Excerpt(song.waveform[start : start + n_samples] / INT16_SCALE, song.hop))
    return found


def generated_songs(
    pipeline: Pipeline, n_songs: int, length_s: float, temperature: float = 1.0
) -> Iterator[GeneratedSong]:
    """Songs with length_s seconds after their seed; seed numbers from 0 on, seed clips in turn, randomness 0.3."""
    clips = built_in_clips()
    for number in progress(range(n_songs), "generating"):
        clip = built_in_clip(clips[number % len(clips)].name)
        seed_s = SEED_STEPS * round(clip_hop(clip, pipeline.positions_per_step)) * FRAMES_PER_STEP / SAMPLE_RATE_HZ
        whole_s = min(length_s + seed_s, LENGTH_RANGE_S[1])
        yield generate(pipeline, Settings(0.3, temperature, whole_s, number, clip.name), clip)


def generated(pipeline: Pipeline, n_songs: int, length_s: float, temperature: float = 1.0) -> Iterator[Excerpt]:
    """What follows the seed of generated_songs(), length_s seconds each."""
    for song in generated_songs(pipeline, n_songs, length_s, temperature):
        waveform = song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :][: round(length_s * SAMPLE_RATE_HZ)]
        yield Excerpt(waveform, song.hop)


def shuffled(values: np.ndarray, unit: int, rng: np.random.Generator) -> np.ndarray:
    """Whole units of the first axis in random order; the remainder is dropped."""
    units = values[: len(values) // unit * unit].reshape(-1, unit, *values.shape[1:])
    return rng.permutation(units).reshape(-1, *values.shape[1:])


def bars_shuffled(excerpt: Excerpt, rng: np.random.Generator) -> Excerpt:
    """Bars in random order."""
    return excerpt.mapped(lambda waveform: shuffled(waveform, excerpt.bar_samples, rng))


def sixteenths_shuffled(excerpt: Excerpt, rng: np.random.Generator) -> Excerpt:
    """Bars in random order, and the sixteenths within each bar: sounds and chords without rhythm or melody."""
    sixteenth = excerpt.sixteenth_samples
    bars = bars_shuffled(excerpt, rng).waveform.reshape(-1, excerpt.bar_samples)
    return Excerpt(np.concatenate([shuffled(bar, sixteenth, rng) for bar in bars]), excerpt.hop)


def pink_noise(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n_samples,) float32 of equal power in every octave from 40 Hz on, at -14 LUFS."""
    spectrum = scipy.fft.rfft(rng.standard_normal(n_samples))
    hz = np.arange(len(spectrum)) * SAMPLE_RATE_HZ / n_samples
    return normalise(scipy.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 40.0)), n_samples) * 100)


def row_waveforms(pipeline: Pipeline, songs: Songs, seconds: float) -> dict[str, list[Excerpt]]:
    """The songs of every row that has a sound, all of one length and beginning with a bar."""
    n_samples, codec = round(seconds * SAMPLE_RATE_HZ), pipeline.codec
    rows = {GENERATED: list(generated(pipeline, len(songs), seconds)), REFERENCE: excerpts(songs, n_samples)}
    rows |= {row: [] for row in (COPIES, BARS, SIXTEENTHS, NOISE)}
    for number, excerpt in enumerate(progress(rows[REFERENCE], "codec copies and controls")):
        rng = np.random.default_rng([number, 6])
        rows[COPIES].append(excerpt.mapped(lambda waveform, hop=excerpt.hop: codec_copy(waveform, codec, hop)))
        rows[BARS].append(bars_shuffled(excerpt, rng))
        rows[SIXTEENTHS].append(sixteenths_shuffled(excerpt, rng))
        rows[NOISE].append(Excerpt(pink_noise(n_samples, rng), excerpt.hop))
    return rows


def hook_rows(pipeline: Pipeline, songs: Songs) -> Values:
    """Whether all later choruses of a song have the tune of the first one: 1 or 0 of each song with two or more.

    The threshold is the 1 - FALSE_HOOKS quantile of unheard songs whose later choruses have their bars rotated.
    """
    made = list(generated_songs(pipeline, len(songs), HOOK_SONG_S))
    unheard = [(song.waveform / INT16_SCALE, song.hop, song.labels[:, 0]) for song in songs]
    matches = {
        GENERATED: [measures.chorus_matches(song.waveform, song.hop, song.sections) for song in made],
        REFERENCE: [measures.chorus_matches(*song) for song in unheard],
        BARS: [measures.chorus_matches(*song, np.random.default_rng([i, 9])) for i, song in enumerate(unheard)],
    }
    threshold = np.quantile(np.concatenate(matches[BARS]), 1 - FALSE_HOOKS)
    return {row: np.array([all(each > threshold) for each in of_row if len(each)]) for row, of_row in matches.items()}


def bits_of_rows(pipeline: Pipeline, sequences: Sequences, seconds: float) -> Values:
    """Bits per step of the first seconds of unseen songs: the LSTM's, the LSTM's with the bars in random order, and
    those of the frequencies of the tokens in these very songs."""
    n_steps = max(round(seconds * STEPS_PER_S) // STEPS_PER_BAR, 1) * STEPS_PER_BAR
    first = [
        TokenSequence(song.tokens[:n_steps], song.metre_positions[:n_steps], song.recalled[:n_steps])
        for song in sequences
    ]
    mixed = [
        replace(song, tokens=shuffled(song.tokens, STEPS_PER_BAR, np.random.default_rng([number, 8])))
        for number, song in enumerate(first)
    ]
    rows, sizes = {REFERENCE: first, BARS: mixed}, pipeline.lstm_config.codebook_sizes
    unigram = per_song({UNIGRAM: first}, lambda song: unigram_bits(first, [song], sizes).sum())

    def bits(song: TokenSequence) -> float:
        n = len(song.tokens)
        chunk = Chunk(0, song.metre_positions[:n], song.tokens, recalled=song.recalled[:n])
        return -pipeline.sampler.log_probs(pipeline.batch_state(1), chunk).sum() / np.log(2) / len(song.tokens)

    return per_song(rows, bits) | unigram


@dataclass(frozen=True)
class Cell:
    """One row of one column."""

    raw: float  # mean over n_songs, in the column's unit
    n_songs: int
    normalised: float | None = None  # 0 is the reference songs' mean, 1 the control's; None without a control
    low: float | None = None  # its 95 % confidence interval
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.raw:.3f}" + ("" if self.normalised is None else f" ({round(self.normalised, 2) + 0.0:.2f})")


def cell(row: np.ndarray, reference: np.ndarray | None = None, control: np.ndarray | None = None) -> Cell:
    """The cell of songs' values (n_songs,), beside those of the reference and of the control.

    The interval is a bootstrap over songs (Efron 1979), seeded: row, reference and control are each resampled.
    """
    if reference is None or control is None:
        return Cell(float(np.mean(row)), len(row))
    rng = np.random.default_rng(0)
    draws = [each[rng.integers(len(each), size=(N_BOOTSTRAP, len(each)))].mean(1) for each in (row, reference, control)]
    interval = np.percentile(normalised(*draws), (2.5, 97.5)).tolist()
    return Cell(float(row.mean()), len(row), float(normalised(row.mean(), reference.mean(), control.mean())), *interval)


def cell_of_draws(row: np.ndarray, reference: np.ndarray, control: np.ndarray, n_songs: int) -> Cell:
    """The cell of a measure of sets of songs, taken of the same random halves (n_draws,) of each.

    Halves drawn without replacement vary about as much as whole sets do (Shao & Tu 1995, "The jackknife and
    bootstrap"); a bootstrap would hold songs twice, which biases distances between sets.
    """
    places = normalised(row, reference.mean(), control.mean())
    return Cell(float(row.mean()), n_songs, float(places.mean()), *np.percentile(places, (2.5, 97.5)).tolist())


def normalised(value, reference, control):
    """Position of a value between the reference (0) and the control (1)."""
    span = control - reference
    return (value - reference) / np.where(np.abs(span) < measures.TINY, measures.TINY, span)


@dataclass
class Table:
    """What was measured, by row; cells by column, too, without those that mean nothing for the row."""

    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    octaves_db: dict[str, np.ndarray] = field(default_factory=dict)  # (7,) mean balance

    def add(self, column: str, values: Values) -> None:
        """Fill a column."""
        reference, control = values.get(REFERENCE), values.get(COLUMNS[column][1])
        for row, row_values in values.items():
            self.cells.setdefault(row, {})[column] = cell(row_values, reference, control)

    def add_features(self, rows: dict[str, list[SongFeatures]]) -> None:
        """The columns of single waveforms, and those of sets of songs."""
        for name in rows[REFERENCE][0].values:
            self.add(name, per_song(rows, lambda song, name=name: song.values[name]))
        octaves = per_song(rows, lambda song: song.octaves_db)
        self.octaves_db = {row: each.mean(0) for row, each in octaves.items()}
        if len(rows[REFERENCE]) == 1:
            return  # it has no others to be compared with
        difference, reference = measures.balance_difference_db, octaves[REFERENCE]
        balance = {row: difference(each, reference, row == REFERENCE) for row, each in octaves.items()}
        self.add("band_balance_db", balance)
        windows = {row: [song.windows for song in each] for row, each in rows.items()}
        project = measures.fit_components(windows[REFERENCE])
        self.add("diversity", {row: measures.diversity(each, project) for row, each in windows.items()})
        distances = measures.frechet_distances(windows, REFERENCE)
        for row, values in distances.items():
            control = distances[COLUMNS["frechet_distance"][1]]
            self.cells[row]["frechet_distance"] = cell_of_draws(values, distances[REFERENCE], control, len(rows[row]))

    def lines(self) -> list[str]:
        """One line per column, so that a terminal is wide enough."""
        rows = [row for row in ROWS if row in self.cells]
        lines = [SCALE, " " * 18 + "".join(f"{row:>21}" for row in rows) + f"   95 % of {GENERATED}"]
        for name, (title, control) in COLUMNS.items():
            cells = {row: self.cells[row].get(name) for row in rows}
            if not any(cells.values()):
                continue
            texts = [f"{each}{'*' if row == control else ' '}" if each else "-" for row, each in cells.items()]
            ours = cells.get(GENERATED)
            interval = "" if ours is None or ours.low is None else f"{ours.low:.2f} to {ours.high:.2f}"
            lines.append(f"{title:<18}" + "".join(f"{text:>21}" for text in texts) + f"   {interval}")
        return lines

    def as_json(self) -> dict:
        """Everything, for JSON."""
        octaves = {row: dict(zip(measures.OCTAVES_HZ, db.tolist(), strict=True)) for row, db in self.octaves_db.items()}
        return {
            "cells": {row: {name: vars(each) for name, each in cells.items()} for row, cells in self.cells.items()},
            "octave_balance_db": octaves,
        }


def check_collapse(pipeline: Pipeline, n_songs: int, report: Report) -> dict:
    """Generate songs of five minutes at several temperatures, and report whether they collapse.

    The limits lie half-way between the maximum of n_songs unseen songs and the collapse itself: in entropy, the minimum
    of pink noise; in repetition 1, the same bar again and again.
    """
    songs = progress(unseen_songs(n_songs), "analysing")
    known = [measures.stability(song.waveform / INT16_SCALE, song.hop) for song in songs]
    noise = measures.stability(pink_noise(30 * SAMPLE_RATE_HZ, np.random.default_rng(0)))
    max_entropy = (max(float(song.entropy.max()) for song in known) + float(noise.entropy.min())) / 2
    max_repetition = (max(song.repetition for song in known) + 1) / 2
    report(f"noise: entropy above {max_entropy:.3f}; one bar: repetition above {max_repetition:.3f}")
    songs = []
    for temperature in COLLAPSE_TEMPERATURES:
        waveforms = generated(pipeline, COLLAPSE_SEEDS, COLLAPSE_LENGTH_S, temperature)
        for number, song in enumerate(measures.stability(*waveform) for waveform in waveforms):
            facts = {
                "temperature": temperature,
                "seed_number": number,
                "quietest_lufs": max(float(song.level_lufs.min()), -70.0),
                "highest_entropy": float(song.entropy.max()),
                "repetition": song.repetition,
                "verdict": measures.collapse(song, max_entropy, max_repetition),
            }
            songs.append(facts)
            report("  ".join(f"{name} {value:.3g}" if name != "verdict" else value for name, value in facts.items()))
    return {"limits": {"max_entropy": max_entropy, "max_repetition": max_repetition}, "songs": songs}
