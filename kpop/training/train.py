"""A training run, from songs to a checkpoint: the codec, the score model, then the LSTM over tokens and labels."""

import copy
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import distributed

from kpop.audio.io import write_wav
from kpop.checkpoint import load_checkpoint, load_codec, load_network, save_checkpoint
from kpop.codec.model import Codec, CodecConfig
from kpop.constants import LABEL_SIZES, PERIOD_16THS, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR
from kpop.corpus.compose import CORPUS_DATA, CORPUS_VERSION
from kpop.errors import KpopError
from kpop.generation.clips import clip_from_waveform
from kpop.generation.pipeline import Pipeline
from kpop.generation.session import generate
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.settings import Settings
from kpop.training.codec import CodecTrainer
from kpop.training.data import (
    INT16_SCALE,
    Songs,
    TrainingSong,
    corpus_songs,
    encode_songs,
    in_processes,
    score_sequence,
    songs_id,
    split,
)
from kpop.training.loop import Budget, Curve, Report, join_processes, process_rank
from kpop.training.lstm import SNAPSHOT_STEPS, LstmTrainer, add_snapshot
from kpop.training.recordings import content_key, folder_songs
from kpop.training.remixes import remixed_songs, work_of

SHARES = {"codec": 0.2, "score": 0.02}  # of the minutes, if these are trained; the LSTM gets the rest
SCORE_SHAPE = {"lag_steps": (SIXTEENTHS_PER_BAR, PERIOD_16THS), "embed": 192, "hidden": 256, "head_width": 128}
FIRST_HELD_OUT, FIRST_MIXED_IN = 3_000_000, 4_000_000  # numbers of composed songs
MAX_HELD_OUT = 24
N_MIXED_IN = 24  # composed songs that a fine-tuned LSTM goes on to hear
TRANSPOSITIONS = (-3, -2, -1, 0, 1, 2, 3)  # semitones, of a user's own songs
FINE_TUNING_RATE = 0.5  # factor of the learning rates
PREVIEW_EVERY_S, PREVIEW_S = 240.0, 15.0


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
    started_s = time.monotonic()
    join_processes()
    rank, n_processes = process_rank()
    if rank > 0:  # the first one fills the caches
        distributed.barrier()
        plan, report = replace(plan, resume=True), lambda line: None
    _prepare_work(plan)
    songs, held_out = _songs(plan, report)
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    codec, start, curves, score = _other_networks(plan, songs, held_out, report)
    trainer = _lstm_trainer(plan, songs, held_out, codec.config, start)
    if n_processes > 1 and rank == 0:
        distributed.barrier()
    info = _info(plan, songs, held_out) | curves
    snapshots = plan.work / "snapshots.safetensors"
    preview = _Preview(plan, codec, info, held_out[0]) if plan.folder else None

    def publish(curve: Curve, **figures: dict) -> None:
        save_checkpoint(plan.out, codec, trainer.average, info | {"lstm_curve": curve} | figures, score)

    def on_step(step: int) -> None:
        if step in SNAPSHOT_STEPS:
            add_snapshot(snapshots, snapshots, step, trainer.average)
        if preview:
            preview.write(step, trainer.average)

    data = songs_id(songs, held_out) if plan.folder else CORPUS_VERSION
    n_steps, seconds = plan.budget("lstm")
    if plan.start:
        seconds -= time.monotonic() - started_s  # which preparing the songs took
    curve = trainer.train((n_steps, seconds), plan.work / "lstm.state", data, report, publish, on_step)
    if rank > 0:
        return
    bits = trainer.bits_per_step()
    publish(curve, bits_per_step=bits)
    add_snapshot(snapshots, plan.out.with_suffix(".snapshots.safetensors"), curve[-1]["step"], trainer.average)
    report("Bits a step on held-out songs: " + ", ".join(f"{name} {row['all']:.1f}" for name, row in bits.items()))
    if start and min(each["held_out"] for each in curve) == curve[0]["held_out"]:
        report(f"It predicts the held-out songs no better than {plan.start.stem}, whose weights were kept.")
    report(f"Written: {plan.out}")


def _info(plan: Plan, songs: Songs, held_out: Songs) -> dict[str, Any]:
    """What the checkpoint says of its songs."""
    return {
        "data": str(plan.folder.name) if plan.folder else CORPUS_DATA,
        "title": plan.title,
        "about": plan.about,
        "n_songs": len(songs) + (0 if plan.folder else plan.first),
        "held_out": [song.name for song in held_out],
        "knows_labels": any(song.labels.any() for song in songs),
    }


def _other_networks(
    plan: Plan, songs: Songs, held_out: Songs, report: Report
) -> tuple[Codec, TokenLstm | None, dict[str, Curve], TokenLstm | None]:
    """(codec, LSTM to go on from, learning curves, score model): of the start, or trained."""
    if plan.start:
        codec, start, info, score = load_checkpoint(plan.start)
        curves = {name: info[name] for name in ("codec_curve", "score_curve") if name in info}
        return codec, start, curves, None if plan.folder else score  # nobody knows the labels of recordings
    codec, codec_curve = _train_codec(plan, songs, held_out, report)
    if plan.folder or process_rank()[0] > 0:
        return codec, None, {"codec_curve": codec_curve}, None
    score, score_curve = _train_score(plan, codec, report)
    return codec, None, {"codec_curve": codec_curve, "score_curve": score_curve}, score


class _Preview:
    """A few seconds generated from a held-out song, every few minutes of a training, to be listened to."""

    def __init__(self, plan: Plan, codec: Codec, info: dict, song: TrainingSong) -> None:
        self._codec, self._info, self._path = codec, info, plan.out.with_suffix(".preview.wav")
        middle = len(song.waveform) // 2
        waveform = song.waveform[middle : middle + round(PREVIEW_S * SAMPLE_RATE_HZ)] / INT16_SCALE
        self._clip, self._written_s = clip_from_waveform(waveform, song.name), time.monotonic()

    def write(self, step: int, lstm: TokenLstm) -> None:
        """If it is time, write another one."""
        if time.monotonic() - self._written_s > PREVIEW_EVERY_S:
            pipeline = Pipeline(self._codec, copy.deepcopy(lstm).cpu().eval(), self._info)
            settings = Settings(length_s=PREVIEW_S, seed_number=step, clip=self._clip.name)
            write_wav(self._path, generate(pipeline, settings, self._clip).waveform)
            self._written_s = time.monotonic()


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
        numbers = range(plan.first, plan.first + plan.n_songs)
        songs = corpus_songs([*numbers, *_held_out(len(numbers))], _corpus_cache(plan), plan.n_jobs)
        return songs[: len(numbers)], songs[len(numbers) :]
    if plan.n_remixes:
        songs = remixed_songs(plan.folder, plan.n_remixes, plan.work / "songs", plan.n_jobs, report)
        return split(songs, work_of, plan.held_out_work)
    return split(folder_songs(plan.folder, plan.work / "songs", plan.n_jobs, report), str, plan.held_out_work)


def _held_out(n_songs: int) -> range:
    """Numbers of composed songs that are held out of every run, for so many to train on."""
    return range(FIRST_HELD_OUT, FIRST_HELD_OUT + min(1 + n_songs // 20, MAX_HELD_OUT))


def _corpus_cache(plan: Plan) -> Path:
    return plan.work / f"corpus-{CORPUS_VERSION}"


def _train_codec(plan: Plan, songs: Songs, held_out: Songs, report: Report) -> tuple[Codec, Curve]:
    """The codec, rounded as in the checkpoint so that the LSTM is trained on the same tokens, and its curve."""
    done = plan.work / "codec.safetensors"
    if not done.exists():
        recordings: tuple[Songs, ...] = ()
        if plan.recordings:
            recordings = remixed_songs(plan.recordings, plan.n_remixes, plan.work / "songs", plan.n_jobs, report)
            recordings = split(recordings, work_of, plan.held_out_work)
        trainer = CodecTrainer(songs, held_out, plan.codec_config, *recordings)
        data = songs_id(songs, held_out)
        curve = trainer.train(plan.budget("codec"), plan.work / "codec.state", data, report)
        save_checkpoint(done, trainer.average, None, {"codec_curve": curve})
    codec, info = load_codec(done)
    return codec, info["codec_curve"]


def _train_score(plan: Plan, codec: Codec, report: Report) -> tuple[TokenLstm, Curve]:
    """The score model and its curve."""
    done = plan.work / "score.safetensors"
    if done.exists():
        score, info = load_network(done, "score")
        return score, info["score_curve"]
    numbers = range(plan.n_scores), _held_out(plan.n_scores)
    sequences = (in_processes(score_sequence, side, plan.n_jobs, "Composing songs") for side in numbers)
    config = LstmConfig(LABEL_SIZES, len(LABEL_SIZES), recalls=True, **SCORE_SHAPE)
    trainer = LstmTrainer(*sequences, config)
    trainer.name = "Score model"
    curve = trainer.train(plan.budget("score"), plan.work / "score.state", CORPUS_VERSION, report)
    save_checkpoint(done, codec, None, {"score_curve": curve}, trainer.average)
    return trainer.average, curve


def _lstm_trainer(
    plan: Plan, songs: Songs, held_out: Songs, codec: CodecConfig, start: TokenLstm | None
) -> LstmTrainer:
    """The LSTM's trainer; one that goes on from other weights also hears composed songs again."""
    sizes = (*LABEL_SIZES, *codec.flat_codebook_sizes)
    config = start.config if start else LstmConfig(sizes, len(LABEL_SIZES), recalls=True, **plan.lstm_shape)
    codec_file = plan.start or plan.work / "codec.safetensors"
    encode = partial(encode_songs, codec_file=codec_file, cache=plan.work / f"tokens-{content_key(codec_file)}")
    sequences = encode(songs, n_jobs=plan.n_jobs, semitones=TRANSPOSITIONS if plan.folder else (0,))
    others = []
    if start and plan.folder:
        numbers = range(FIRST_MIXED_IN, FIRST_MIXED_IN + N_MIXED_IN)
        others = encode(corpus_songs(numbers, _corpus_cache(plan), plan.n_jobs), n_jobs=plan.n_jobs)
    trainer = LstmTrainer(sequences, encode(held_out, n_jobs=plan.n_jobs), config, codec, others)
    trainer.is_shared = True
    if start:
        trainer.model.load_state_dict(start.state_dict())
        trainer.rate = FINE_TUNING_RATE
    return trainer
