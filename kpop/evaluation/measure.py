"""The whole evaluation of a model, from songs to the table."""

from pathlib import Path

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.evaluation import bits, rows, table
from kpop.evaluation.columns import CEILING, COPIES, GENERATED
from kpop.evaluation.hearing import hear
from kpop.evaluation.rows import Plan, Report, Waveforms
from kpop.evaluation.steadiness import course
from kpop.generation.pipeline import Pipeline
from kpop.similarity.index import SimilarityIndex
from kpop.training.data import TrainingSong

BITS_SONGS = 10  # bits differ little between songs, and take long


def measure(
    pipeline: Pipeline, songs: list[TrainingSong], plan: Plan, index: Path, report: Report
) -> tuple[table.Table, dict]:
    """(the table, row -> mel spectrograms (n_frames, 80) in dB of its songs).

    songs: plan.n_songs unheard ones; index: file of the nearness index, there or not.
    """
    made = rows.waveforms(pipeline, songs, plan, report)
    report("Listening to all rows")
    heard = {row: [hear(waveform) for waveform in waveforms] for row, waveforms in made.items()}
    result = table.Table()
    table.add_heard(result, heard)
    table.add_convergence(result, made[CEILING], made[COPIES])
    _add_nearness(result, made, index)
    report("Counting bits")
    result.add("bits_per_step", bits.bits_of_rows(pipeline, songs[:BITS_SONGS], plan.seconds))
    report("Dreaming up longer songs")
    _add_courses(result, pipeline, songs, plan)
    return result, {row: [song.level_db for song in songs] for row, songs in heard.items()}


def _add_nearness(result: table.Table, made: dict[str, Waveforms], path: Path) -> None:
    if not path.is_file():
        result.left_out.append(f"The column of nearness to training songs is left out: there is no {path}.")
        return
    index = SimilarityIndex.load(path)

    def similarity(waveform: np.ndarray) -> float:
        match = index.nearest(waveform)
        return match.similarity if match else 0.0  # silence is like nothing

    table.add_nearness(result, made, similarity)


def _add_courses(result: table.Table, pipeline: Pipeline, songs: list[TrainingSong], plan: Plan) -> None:
    n_samples = round(plan.long_s * SAMPLE_RATE_HZ)
    dreamt = rows.generated(pipeline, plan.n_long, plan.long_s, plan.temperature, plan.randomness)
    courses = {
        GENERATED: [course(waveform) for waveform in dreamt],
        CEILING: [course(waveform) for waveform in rows.unheard(songs[: plan.n_long], n_samples, first_bar=0)],
    }
    table.add_courses(result, courses)
