"""python -m kpop index: what a model was trained on, so that every song can say how near it comes to it."""

import argparse
from pathlib import Path

from kpop.errors import KpopError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("index", help="index what a model was trained on, to tell how new its songs are")
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="the songs it was trained on; without it, our own corpus"
    )
    command.add_argument("--model", default="twice4life", help="a checkpoint in models/, or a .safetensors file")
    command.add_argument("--songs", type=int, help="only songs number 0 to N - 1 of our corpus, without those held out")
    command.add_argument("--unheard", type=int, default=24, help="how many unheard songs of our corpus to compare with")
    command.add_argument("--jobs", type=int, default=2, help="processes that render and listen")
    command.add_argument("--cache", type=Path, help="the training's .work folder, to use songs rendered there")
    command.add_argument("--out", type=Path, help="file to write; without it, MODEL.index.safetensors beside the model")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Build the index and write it, with a line on how near unheard songs come."""
    from kpop.model_info import checkpoint_path, index_path
    from kpop.similarity import build

    if min(options.songs or 2, options.unheard, options.jobs) < 1:
        raise KpopError("An index needs --songs, --unheard and --jobs of 1 or more: choose such numbers.")
    checkpoint, out = checkpoint_path(options.model), options.out or index_path(options.model)
    plan = build.Plan(checkpoint, options.cache or checkpoint.with_suffix(".work"), options.jobs, _say)
    if options.folder is not None:
        index = build.folder_index(plan, options.folder)
    else:
        index = build.corpus_index(plan, options.songs, options.unheard)
    index.save(out)
    low, middle, high = (index.reference.quantile(share, 14) for share in (0.05, 0.5, 0.95))
    _say(f"30 s of an unheard song: {middle:.0%} alike (median), {low:.0%} to {high:.0%} (5 to 95 % of them)")
    _say(f"wrote {out}: {len(index.names)} songs, {len(index.vectors)} bars, {out.stat().st_size / 1e6:.1f} MB")


def _say(line: str) -> None:
    print(line, flush=True)
