"""From songs to a checkpoint: codec first, then the LSTM over its codes."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import load_checkpoint, load_codec, save_checkpoint
from kpop.codec.model import Codec, CodecConfig
from kpop.constants import LABEL_SIZES
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.training import lstm
from kpop.training.codec import CodecStage
from kpop.training.data import (
    CORPUS_VERSION,
    Sequence,
    Song,
    corpus_songs,
    encode_songs,
    metronome_rate,
    songs_id,
    split,
)
from kpop.training.loop import Budget, Report, best_device, train
from kpop.training.lstm import LstmStage, Snapshots, bits_by_stream

CODEC_SHARE = 0.25  # of the minutes; the LSTM gets the rest


@dataclass(frozen=True)
class Plan:
    """A training run.

    out: the checkpoint to write, models/NAME.safetensors; its state is kept beside it in NAME.work/
    folder: songs of the user's own; None: our corpus, songs number 0 to n_songs - 1
    n_remixes: versions made of each song in the folder that is there as stems
    held_out_work: the song of the folder that is held out in all its versions; None: drawn by lot
    start: a checkpoint to go on from instead of from nothing; its networks keep their shapes
    keep: with start, how much of the starting LSTM remains in the result, 0..1: its weights and the trained ones are
        averaged (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"), which keeps songs from falling apart
        when there was little to learn from
    title, about: the model's name for listeners, and an honest sentence on what it learnt from
    minutes: wall-clock budget of both stages; or codec_steps and lstm_steps, and then the run is reproducible
    """

    out: Path
    folder: Path | None = None
    n_remixes: int = 0
    held_out_work: str | None = None
    start: Path | None = None
    keep: float = 0.0
    title: str = ""
    about: str = ""
    n_songs: int = 400
    minutes: float | None = 60.0
    codec_steps: int | None = None
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

    def budget(self, steps: int | None, share: float) -> Budget:
        """A stage's part of the budget."""
        return Budget(steps=steps) if steps is not None else Budget(seconds=self.minutes * 60 * share)


def run(plan: Plan, report: Report = print) -> None:
    """Train both networks as planned and write the checkpoint. KpopError when there are no usable songs."""
    _prepare_work(plan)
    songs, held_out = _songs(plan, report)
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    device = best_device()
    codec, codec_curve = _train_codec(plan, songs, held_out, device, report)
    facts = _facts(plan, songs, held_out, codec_curve)
    snapshots = Snapshots(plan.work / "snapshots.safetensors", plan.resume)
    stage = LstmStage(
        *(encode_songs(side, codec, device, plan.work / "codes") for side in (songs, held_out)),
        device,
        _lstm_config(plan, codec),
        songs_id(songs, held_out),
        lambda lstm, curve: save_checkpoint(plan.out, codec, lstm, facts | {"lstm_curve": curve}),
        load_checkpoint(plan.start)[1] if plan.start else None,
        snapshots.look,
        codec.config.codebook_is_residual,
    )
    curve = train(stage, plan.budget(plan.lstm_steps, 1 - CODEC_SHARE), plan.work / "lstm.state", plan.resume, report)
    _keep_some_of_the_start(plan, stage.model)
    info = facts | {"lstm_curve": curve} | _bits(stage)
    save_checkpoint(plan.out, codec, stage.model, info)
    snapshots.finish(plan.out.with_suffix(".snapshots.safetensors"), curve[-1]["step"], stage.model)
    report(json.dumps(info["bits_per_step"]))
    report(f"wrote {plan.out}")


@torch.no_grad()
def _keep_some_of_the_start(plan: Plan, lstm: TokenLstm) -> None:
    if plan.start and plan.keep:
        before = load_checkpoint(plan.start)[1].to(next(lstm.parameters()).device)
        for parameter, earlier in zip(lstm.parameters(), before.parameters(), strict=True):
            parameter.lerp_(earlier, plan.keep)


def _lstm_config(plan: Plan, codec: Codec) -> LstmConfig:
    if plan.start:
        return load_checkpoint(plan.start)[1].config
    return LstmConfig((*LABEL_SIZES, *codec.config.flat_codebook_sizes), len(LABEL_SIZES), **plan.lstm_shape)


def _prepare_work(plan: Plan) -> None:
    """Make room for the run; without resume, nothing of an earlier one is left to be taken for its own."""
    try:
        plan.work.mkdir(parents=True, exist_ok=True)
        if not plan.resume:
            for name in ("codec.state", "codec.safetensors", "lstm.state"):
                (plan.work / name).unlink(missing_ok=True)
    except OSError as error:
        raise KpopError(f"{plan.work} cannot be written ({error.strerror}): choose another --out.") from error


def _songs(plan: Plan, report: Report) -> tuple[list[Song], list[Song]]:
    """(training songs, held-out songs)."""
    if plan.folder is None:
        return split(corpus_songs(plan.n_songs, plan.work / f"corpus-{CORPUS_VERSION}", plan.n_jobs, report))
    from kpop.training import data, remixes  # need soundfile and librosa; our own corpus does not

    if plan.n_remixes:
        songs = remixes.remixed_songs(plan.folder, plan.n_remixes, plan.work / "songs", report)
        return remixes.split_by_work(songs, plan.held_out_work)
    return split(data.folder_songs(plan.folder, plan.work / "songs", report))


def _train_codec(
    plan: Plan, songs: list[Song], held_out: list[Song], device: torch.device, report: Report
) -> tuple[Codec, list[dict[str, float]]]:
    """The codec as the checkpoint will hold it, so that the LSTM learns the very codes it will meet."""
    done = plan.work / "codec.safetensors"
    if plan.resume and done.exists():
        codec, info = load_codec(done)
        return codec.to(device), info["codec_curve"]
    start = load_codec(plan.start)[0] if plan.start else None
    stage = CodecStage(songs, held_out, device, start.config if start else plan.codec_config, start)
    curve = train(stage, plan.budget(plan.codec_steps, CODEC_SHARE), plan.work / "codec.state", plan.resume, report)
    save_checkpoint(done, stage.model, None, {"codec_curve": curve})
    return load_codec(done)[0].to(device), curve


def _bits(stage: LstmStage) -> dict:
    """The table of bits a step on held-out songs, LSTM and baselines, labels and codes together and apart."""
    stage.model.eval()
    held_out, sizes = stage.all_held_out, stage.model.config.codebook_sizes
    rows = {
        "lstm": _mean_over_steps(stage, held_out),
        "unigram": lstm.unigram_bits(stage.sequences, held_out, sizes),
        "same as one bar ago": lstm.bar_ago_bits(stage.sequences, held_out, sizes),
    }
    n_labels = stage.model.config.n_labels
    table = {name: {"all": bits.sum(), "codes": bits[n_labels:].sum(), "streams": bits} for name, bits in rows.items()}
    return {"bits_per_step": json.loads(json.dumps(table, default=lambda value: value.round(3).tolist()))}


def _mean_over_steps(stage: LstmStage, held_out: list[Sequence]) -> np.ndarray:
    """Bits a step (n_codebooks,), each song heard as a whole and counted by its length."""
    lengths = [len(song.slots) for song in held_out]
    bits = [bits_by_stream(stage.model, [song], len(song.slots), stage.device) for song in held_out]
    return np.average(bits, axis=0, weights=lengths)


def _facts(plan: Plan, songs: list[Song], held_out: list[Song], codec_curve: list) -> dict:
    return {
        "data": str(plan.folder.name) if plan.folder else f"own corpus, version {CORPUS_VERSION}",
        "title": plan.title,
        "about": plan.about,
        "n_songs": len(songs),
        "held_out": [song.name for song in held_out],
        "metronome_rate": metronome_rate(songs),
        "knows_labels": any(song.labels.any() for song in songs),
        "codec_curve": codec_curve,
    }
