"""python -m kpop evaluate: how good a model is, in one table, beside what it could be and what it must not be."""

import argparse
import json
from pathlib import Path

from kpop.errors import KpopError

FIGURE_SONGS = 4  # enough for figures of single parts


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("evaluate", help="measure a model on songs that it has never heard")
    command.add_argument("--model", default="twice4life", help="a checkpoint in models/, or a .safetensors file")
    command.add_argument("--songs", type=int, default=20, help="how many songs a row")
    command.add_argument("--seconds", type=float, default=60.0, help="what is measured of each song, 16 or more")
    command.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for evaluation.json and .html")
    command.add_argument("--steady", action="store_true", help="only check songs of five minutes for collapse")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table and the figures and write them, as JSON and as a page."""
    if options.songs < 1:
        raise KpopError("An evaluation needs --songs 1 or more: choose such a number.")
    if not 16 <= options.seconds <= 290:
        raise KpopError("An evaluation needs --seconds between 16 and 290: choose such a number.")
    from kpop.evaluation import figures
    from kpop.generation.pipeline import Pipeline
    from kpop.model_info import checkpoint_path

    pipeline = Pipeline.load(checkpoint_path(options.model))
    songs, times_real_time = figures.timed_corpus(options.songs)
    _make_folder(options.out)
    if options.steady:
        _check_for_collapse(pipeline, songs, options.out)
    else:
        _evaluate(pipeline, songs, times_real_time, options)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KpopError(f"{folder} cannot be made ({error.strerror}): choose another --out.") from error


def _evaluate(pipeline, songs: list, times_real_time: float, options: argparse.Namespace) -> None:
    from kpop.evaluation.measure import measure
    from kpop.evaluation.page import write_page
    from kpop.evaluation.rows import Plan
    from kpop.evaluation.targets import targets
    from kpop.evaluation.words import table_lines
    from kpop.model_info import index_path

    plan = Plan(options.songs, options.seconds, n_long=min(Plan.n_long, options.songs))
    table, levels_db = measure(pipeline, songs, plan, index_path(options.model), print)
    aims = targets(table)
    print("\n".join(["", *table_lines(table), "", *map(str, aims), ""]))
    parts = _figures(pipeline, songs[:FIGURE_SONGS], times_real_time)
    for part, rows in parts.items():
        print("\n".join([part, *(f"  {name.replace('_', ' '):<34} {value:8.2f}" for name, value in rows.items())]))
    whole = table.as_json() | {"targets": [vars(aim) for aim in aims], "figures": parts}
    _write_json(options.out / "evaluation.json", whole)
    write_page(options.out / "evaluation.html", f"{options.model}: evaluation", table, aims, levels_db)
    print(f"Written: {options.out / 'evaluation.json'} and {options.out / 'evaluation.html'}")


def _figures(pipeline, songs: list, times_real_time: float) -> dict[str, dict[str, float]]:
    from kpop.corpus.score import PALETTES
    from kpop.evaluation import figures
    from kpop.evaluation.tuning import tuning_figures

    print("Measuring codec, LSTM and speed")
    return {
        "corpus": {"times_real_time_per_core": times_real_time},
        "codec, on unheard songs": figures.codec_figures(pipeline.codec, songs),
        "codec, on held chords": tuning_figures(pipeline.codec, PALETTES),
        "bits per step, on unheard songs": figures.bits_figures(pipeline.codec, pipeline.lstm, songs),
        "bits per step, as stepped": figures.stepping_figures(pipeline, songs),
        "seconds for a song of 30 s": figures.speed_figures(pipeline),
    }


def _check_for_collapse(pipeline, songs: list, out: Path) -> None:
    from kpop.evaluation.collapse import limits, long_songs

    found = limits(songs)
    print(f"noise: entropy above {found.noise_entropy:.3f}; one bar: likeness above {found.most_repetition:.3f}")
    verdicts = []
    for song in long_songs(pipeline, found):
        facts = {
            "temperature": song.temperature,
            "seed_number": song.seed_number,
            "quietest_lufs": max(float(song.course.level_lufs.min()), -70.0),
            "highest_entropy": float(song.course.entropy.max()),
            "repetition": song.course.repetition,
            "verdict": song.verdict,
        }
        verdicts.append(facts)
        print("  ".join(f"{name} {value:.3g}" if name != "verdict" else value for name, value in facts.items()))
    _write_json(out / "steady.json", {"limits": vars(found), "songs": verdicts})


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
