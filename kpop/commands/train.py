"""python -m kpop train: from songs to a checkpoint."""

import argparse
from pathlib import Path

from kpop.errors import KpopError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("train", help="train a model on our corpus or on your own songs")
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="your songs; without it, our own corpus"
    )
    command.add_argument("--out", type=Path, required=True, help="checkpoint to write, as models/NAME")
    command.add_argument(
        "--from", dest="start", metavar="MODEL", help="go on from this checkpoint (a name in models/ or a file)"
    )
    command.add_argument("--remixes", type=int, default=0, help="versions to make of each song there as stems")
    command.add_argument("--hold-out", metavar="SONG", help="with --remixes: the song to hold out, in all its versions")
    command.add_argument("--keep", type=float, default=0.0, help="with --from: share 0..1 of its LSTM in the result")
    command.add_argument("--title", default="", help="what the page shall call it")
    command.add_argument("--about", default="", help="a sentence for the page: what it learnt from")
    command.add_argument("--songs", type=int, default=400, help="songs of our corpus to train on")
    command.add_argument("--minutes", type=float, default=60.0, help="wall-clock budget of the training")
    command.add_argument("--codec-steps", type=int, help="with --lstm-steps: a run of so many steps, repeatable")
    command.add_argument("--lstm-steps", type=int)
    command.add_argument("--jobs", type=int, default=2, help="processes that render the corpus")
    command.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train, with a line of held-out figures now and then."""
    from kpop.model_info import checkpoint_path
    from kpop.training import train

    if options.songs < 2 or options.jobs < 1:
        raise KpopError("Training needs --songs 2 or more and --jobs 1 or more: choose such numbers.")
    plan = train.Plan(
        out=_checkpoint_file(options.out),
        folder=options.folder,
        n_remixes=options.remixes,
        held_out_work=options.hold_out,
        start=checkpoint_path(options.start) if options.start else None,
        keep=options.keep,
        title=options.title,
        about=options.about,
        n_songs=options.songs,
        minutes=options.minutes,
        codec_steps=options.codec_steps,
        lstm_steps=options.lstm_steps,
        n_jobs=options.jobs,
        resume=options.resume,
    )
    train.run(plan, lambda line: print(line, flush=True))


def _checkpoint_file(out: Path) -> Path:
    """models/v1.5 means models/v1.5.safetensors, and so does that itself."""
    return out if out.suffix == ".safetensors" else out.with_name(f"{out.name}.safetensors")
