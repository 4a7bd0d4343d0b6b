"""A training run, from songs to a checkpoint: the codec first, then the LSTM over its tokens."""

import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kpop.checkpoint import load_checkpoint, load_codec, save_checkpoint
from kpop.codec.model import Codec, CodecConfig
from kpop.constants import LABEL_SIZES
from kpop.corpus.compose import CORPUS_DATA, CORPUS_VERSION
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.training.codec import CodecTrainer
from kpop.training.data import Songs, corpus_song, encode_song, folder_songs, in_processes, metre_rate, songs_id, split
from kpop.training.loop import Curve, Report, best_device
from kpop.training.lstm import SNAPSHOT_STEPS, LstmTrainer, add_snapshot
from kpop.training.remixes import remixed_songs, work_of

CODEC_SHARE = 0.25  # of the minutes; the LSTM gets the rest


@dataclass(frozen=True)
class Plan:
    """A training run.

    keep: with start, weight 0..1 of the starting LSTM in an average of its weights and the trained ones (Wortsman et
        al. 2022, "Robust fine-tuning of zero-shot models"): less overfitting when there is little to learn from
    """

    out: Path  # the checkpoint to write, models/NAME.safetensors; its state is kept beside it in NAME.work/
    folder: Path | None = None  # the user's own songs; None: composed songs, number 0 to n_songs - 1
    n_remixes: int = 0  # made of each song in the folder that comes as stems
    held_out_work: str | None = None  # the song of the folder to hold out in all its versions; None: chosen by a hash
    start: Path | None = None  # a checkpoint to fine-tune; its networks keep their shapes
    keep: float = 0.0
    title: str = ""  # the model's name for listeners
    about: str = ""  # an honest sentence on what it was trained on
    n_songs: int = 400
    minutes: float | None = 60.0  # wall-clock budget of both stages
    codec_steps: int | None = None  # with lstm_steps, instead of minutes: the run is reproducible
    lstm_steps: int | None = None
    n_jobs: int = os.cpu_count() or 1
    resume: bool = False
    codec_config: CodecConfig = field(default_factory=CodecConfig)
    lstm_shape: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.codec_steps is None) != (self.lstm_steps is None):
            raise KpopError("A run in steps needs both --codec-steps and --lstm-steps: give both or neither.")
        if self.codec_steps is None and not (self.minutes and self.minutes > 0):
            raise KpopError("A run needs a budget: give --minutes above 0, or --codec-steps and --lstm-steps.")

    @property
    def work(self) -> Path:
        """Folder of the run's state and caches."""
        return self.out.with_suffix(".work")


def run(plan: Plan, report: Report = print) -> None:
    """Train both networks as planned and write the checkpoint. KpopError when there are no usable songs."""
    _prepare_work(plan)
    songs, held_out = _songs(plan, report)
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    start_codec, start = load_checkpoint(plan.start)[:2] if plan.start else (None, None)
    codec, codec_curve = _train_codec(plan, songs, held_out, start_codec, report)
    trainer = _lstm_trainer(plan, songs, held_out, codec, start)
    info = {
        "data": str(plan.folder.name) if plan.folder else CORPUS_DATA,
        "title": plan.title,
        "about": plan.about,
        "n_songs": len(songs),
        "held_out": [song.name for song in held_out],
        "metronome_rate": metre_rate(songs),
        "knows_labels": any(song.labels.any() for song in songs),
        "codec_curve": codec_curve,
    }
    snapshots = plan.work / "snapshots.safetensors"

    def publish(curve: Curve, **figures: dict) -> None:
        save_checkpoint(plan.out, codec, trainer.model, info | {"lstm_curve": curve} | figures)

    def on_step(step: int) -> None:
        if step in SNAPSHOT_STEPS:
            add_snapshot(snapshots, snapshots, step, trainer.model)

    budget = plan.lstm_steps, (plan.minutes or 0.0) * 60 * (1 - CODEC_SHARE)
    curve = trainer.train(budget, plan.work / "lstm.state", songs_id(songs, held_out), report, publish, on_step)
    if start:
        for trained, earlier in zip(trainer.model.parameters(), start.parameters(), strict=True):
            trained.data.lerp_(earlier.to(trained.device), plan.keep)
    bits = trainer.bits_per_step()
    publish(curve, bits_per_step=bits)
    add_snapshot(snapshots, plan.out.with_suffix(".snapshots.safetensors"), curve[-1]["step"], trainer.model)
    report(json.dumps(bits))
    report(f"wrote {plan.out}")


def _prepare_work(plan: Plan) -> None:
    """Create the work folder; without resume, delete the state of an earlier run."""
    try:
        plan.work.mkdir(parents=True, exist_ok=True)
        if not plan.resume:
            for name in ("codec.state", "codec.safetensors", "lstm.state", "snapshots.safetensors"):
                (plan.work / name).unlink(missing_ok=True)
    except OSError as error:
        raise KpopError(f"{plan.work} cannot be written ({error.strerror}): choose another --out.") from error


def _songs(plan: Plan, report: Report) -> tuple[Songs, Songs]:
    """(training songs, held-out songs)."""
    if plan.folder is None:
        make = partial(corpus_song, cache=plan.work / f"corpus-{CORPUS_VERSION}")
        return split(in_processes(make, range(plan.n_songs), plan.n_jobs, report, "rendered"))
    if plan.n_remixes:
        songs = remixed_songs(plan.folder, plan.n_remixes, plan.work / "songs", report)
        return split(songs, work_of, plan.held_out_work)
    return split(folder_songs(plan.folder, plan.work / "songs", report))


def _train_codec(plan: Plan, songs: Songs, held_out: Songs, start: Codec | None, report: Report) -> tuple[Codec, Curve]:
    """The codec, rounded as in the checkpoint so that the LSTM is trained on the same tokens, and its curve."""
    done = plan.work / "codec.safetensors"
    if not done.exists():
        trainer = CodecTrainer(songs, held_out, start.config if start else plan.codec_config)
        if start:
            trainer.fine_tune(start)
        budget = plan.codec_steps, (plan.minutes or 0.0) * 60 * CODEC_SHARE
        curve = trainer.train(budget, plan.work / "codec.state", songs_id(songs, held_out), report)
        save_checkpoint(done, trainer.model, None, {"codec_curve": curve})
    codec, info = load_codec(done)
    return codec.to(best_device()), info["codec_curve"]


def _lstm_trainer(plan: Plan, songs: Songs, held_out: Songs, codec: Codec, start: TokenLstm | None) -> LstmTrainer:
    sizes = (*LABEL_SIZES, *codec.config.flat_codebook_sizes)
    config = start.config if start else LstmConfig(sizes, len(LABEL_SIZES), **plan.lstm_shape)
    sequences = [[encode_song(song, codec, best_device()) for song in side] for side in (songs, held_out)]
    trainer = LstmTrainer(*sequences, config, codec.config)
    if start:
        trainer.model.load_state_dict(start.state_dict())
    return trainer
