"""A training run, from songs to a checkpoint: the codec, the score model, then the LSTM over tokens and labels."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kpop.checkpoint import load_checkpoint, load_codec, save_checkpoint
from kpop.codec.model import Codec, CodecConfig
from kpop.constants import LABEL_SIZES, PERIOD_16THS, SIXTEENTHS_PER_BAR
from kpop.corpus.compose import CORPUS_DATA, CORPUS_VERSION
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.training.codec import CodecTrainer
from kpop.training.data import (
    Songs,
    corpus_song,
    encode_song,
    folder_songs,
    in_processes,
    metre_rate,
    score_sequence,
    songs_id,
    split,
)
from kpop.training.loop import Budget, Curve, Report, best_device
from kpop.training.lstm import SNAPSHOT_STEPS, LstmTrainer, add_snapshot
from kpop.training.remixes import remixed_songs, work_of

SHARES = {"codec": 0.2, "score": 0.02}  # of the minutes, if these are trained; the LSTM gets the rest
SCORE_SHAPE = {"lag_steps": (SIXTEENTHS_PER_BAR, PERIOD_16THS), "embed": 192, "hidden": 256, "head_width": 128}
FIRST_HELD_OUT = 3_000_000  # number of a composed song
MAX_HELD_OUT = 24


@dataclass(frozen=True)
class Plan:
    """A training run. Composed songs may be other ones each time that it is resumed: the next ones."""

    out: Path  # the checkpoint to write, models/NAME.safetensors; its state is kept beside it in NAME.work/
    folder: Path | None = None  # the user's own songs; None: composed songs, n_songs from number `first` on
    n_remixes: int = 0  # made of each song in the folder that comes as stems
    held_out_work: str | None = None  # the song of the folder to hold out in all its versions; None: chosen by a hash
    start: Path | None = None  # a checkpoint whose LSTM is fine-tuned; its codec and score model stay as they are
    title: str = ""  # the model's name for listeners
    about: str = ""  # an honest sentence on what it was trained on
    n_songs: int = 400
    first: int = 0
    n_scores: int = 20_000  # composed songs, number 0 and up, that the score model learns from
    recordings: Path | None = None  # a folder of songs that the codec learns from as well, remixed like those of folder
    minutes: float | None = 60.0  # wall-clock budget of all stages
    codec_steps: int | None = None  # these three instead of minutes: the run is reproducible
    score_steps: int | None = None
    lstm_steps: int | None = None
    n_jobs: int = os.cpu_count() or 1
    resume: bool = False
    codec_config: CodecConfig = field(default_factory=CodecConfig)
    lstm_shape: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = {self.codec_steps is None, self.score_steps is None, self.lstm_steps is None}
        if len(steps) > 1:
            raise KpopError(
                "A run in steps needs all of --codec-steps, --score-steps and --lstm-steps: give all or none."
            )
        if steps == {True} and not (self.minutes and self.minutes > 0):
            raise KpopError("A run needs a budget: give --minutes above 0, or the number of steps of each stage.")

    def budget(self, stage: str) -> Budget:
        """Steps, or seconds, of "codec", "score" or "lstm"."""
        trained = [] if self.start else ["codec"] if self.folder else ["codec", "score"]
        shares = {other: SHARES[other] for other in trained}
        share = shares.get(stage, 1 - sum(shares.values()))
        return getattr(self, f"{stage}_steps"), (self.minutes or 0.0) * 60 * share

    @property
    def work(self) -> Path:
        """Folder of the run's state and caches."""
        return self.out.with_suffix(".work")


def run(plan: Plan, report: Report = print) -> None:
    """Train the networks as planned and write the checkpoint. KpopError when there are no usable songs."""
    _prepare_work(plan)
    songs, held_out = _songs(plan, report)
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    start = None
    if plan.start:
        codec, start, start_info, score = load_checkpoint(plan.start)
        curves = {name: start_info[name] for name in ("codec_curve", "score_curve") if name in start_info}
    else:
        codec, codec_curve = _train_codec(plan, songs, held_out, report)
        score, score_curve = (None, None) if plan.folder else _train_score(plan, report)
        curves = {"codec_curve": codec_curve, "score_curve": score_curve}
    trainer = _lstm_trainer(plan, songs, held_out, codec.to(best_device()), start)
    info = {
        "data": str(plan.folder.name) if plan.folder else CORPUS_DATA,
        "title": plan.title,
        "about": plan.about,
        "n_songs": len(songs) + (0 if plan.folder else plan.first),
        "held_out": [song.name for song in held_out],
        "metronome_rate": metre_rate(songs),
        "knows_labels": any(song.labels.any() for song in songs),
        **curves,
    }
    snapshots = plan.work / "snapshots.safetensors"

    def publish(curve: Curve, **figures: dict) -> None:
        save_checkpoint(plan.out, codec, trainer.model, info | {"lstm_curve": curve} | figures, score)

    def on_step(step: int) -> None:
        if step in SNAPSHOT_STEPS:
            add_snapshot(snapshots, snapshots, step, trainer.model)

    data = songs_id(songs, held_out) if plan.folder else CORPUS_VERSION
    curve = trainer.train(plan.budget("lstm"), plan.work / "lstm.state", data, report, publish, on_step)
    bits = trainer.bits_per_step()
    publish(curve, bits_per_step=bits)
    add_snapshot(snapshots, plan.out.with_suffix(".snapshots.safetensors"), curve[-1]["step"], trainer.model)
    report("Bits a step on held-out songs: " + ", ".join(f"{name} {row['all']:.1f}" for name, row in bits.items()))
    report(f"Written: {plan.out}")


def _prepare_work(plan: Plan) -> None:
    """Create the work folder; without resume, delete the state of an earlier run."""
    try:
        plan.work.mkdir(parents=True, exist_ok=True)
        if not plan.resume:
            for path in plan.work.glob("*.*"):
                path.unlink()
    except OSError as error:
        raise KpopError(f"{plan.work} cannot be written ({error.strerror}): choose another --out.") from error


def _songs(plan: Plan, report: Report) -> tuple[Songs, Songs]:
    """(training songs, held-out songs)."""
    if plan.folder is None:
        make = partial(corpus_song, cache=plan.work / f"corpus-{CORPUS_VERSION}")
        return _composed(make, range(plan.first, plan.first + plan.n_songs), plan.n_jobs, "Rendering songs")
    if plan.n_remixes:
        songs = remixed_songs(plan.folder, plan.n_remixes, plan.work / "songs", report)
        return split(songs, work_of, plan.held_out_work)
    return split(folder_songs(plan.folder, plan.work / "songs", report))


def _composed(make: Callable[[int], Any], numbers: range, n_jobs: int, title: str) -> tuple[list, list]:
    """What make() returns for the numbers, and for others that are held out of every run."""
    n_held_out = min(1 + len(numbers) // 20, MAX_HELD_OUT)
    made = in_processes(make, [*numbers, *range(FIRST_HELD_OUT, FIRST_HELD_OUT + n_held_out)], n_jobs, title)
    return made[: len(numbers)], made[len(numbers) :]


def _train_codec(plan: Plan, songs: Songs, held_out: Songs, report: Report) -> tuple[Codec, Curve]:
    """The codec, rounded as in the checkpoint so that the LSTM is trained on the same tokens, and its curve."""
    done = plan.work / "codec.safetensors"
    if not done.exists():
        recordings: tuple[Songs, ...] = ()
        if plan.recordings:
            recordings = remixed_songs(plan.recordings, plan.n_remixes, plan.work / "songs", report)
            recordings = split(recordings, work_of, plan.held_out_work)
        trainer = CodecTrainer(songs, held_out, plan.codec_config, *recordings)
        data = songs_id(songs, held_out)
        curve = trainer.train(plan.budget("codec"), plan.work / "codec.state", data, report)
        save_checkpoint(done, trainer.model, None, {"codec_curve": curve})
    codec, info = load_codec(done)
    return codec, info["codec_curve"]


def _train_score(plan: Plan, report: Report) -> tuple[TokenLstm, Curve]:
    """The score model and its curve."""
    sequences = _composed(score_sequence, range(plan.n_scores), plan.n_jobs, "Composing songs")
    config = LstmConfig(LABEL_SIZES, len(LABEL_SIZES), recalls=True, **SCORE_SHAPE)
    trainer = LstmTrainer(*sequences, config)
    trainer.name = "Score model"
    curve = trainer.train(plan.budget("score"), plan.work / "score.state", CORPUS_VERSION, report)
    return trainer.model, curve


def _lstm_trainer(plan: Plan, songs: Songs, held_out: Songs, codec: Codec, start: TokenLstm | None) -> LstmTrainer:
    sizes = (*LABEL_SIZES, *codec.config.flat_codebook_sizes)
    config = start.config if start else LstmConfig(sizes, len(LABEL_SIZES), recalls=True, **plan.lstm_shape)
    everything = tqdm([*songs, *held_out], "Encoding songs", unit="song", disable=None)
    sequences = [encode_song(song, codec, best_device()) for song in everything]
    trainer = LstmTrainer(sequences[: len(songs)], sequences[len(songs) :], config, codec.config)
    if start:
        trainer.model.load_state_dict(start.state_dict())
    return trainer
