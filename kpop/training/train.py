"""From songs to a checkpoint: codec first, then the LSTM over its codes."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import kpop.corpus
from kpop.checkpoint import load_codec, save_checkpoint
from kpop.codec.config import CodecConfig
from kpop.codec.network import Codec
from kpop.errors import KpopError
from kpop.grid import N_CHORD_CLASSES
from kpop.lstm.config import LstmConfig
from kpop.training import baselines
from kpop.training.codec_stage import CodecStage
from kpop.training.loop import Budget, Report, train
from kpop.training.lstm_stage import LstmStage, bits_by_stream
from kpop.training.machine import best_device
from kpop.training.sequences import Sequence, encode_song
from kpop.training.songs import Song, metronome_rate, songs_id, split

CODEC_SHARE = 0.25  # of the minutes; the LSTM gets the rest


@dataclass(frozen=True)
class Plan:
    """A training run.

    out: the checkpoint to write, models/NAME.safetensors; its state is kept beside it in NAME.work/
    folder: songs of the user's own; None: our corpus, songs number 0 to n_songs - 1
    minutes: wall-clock budget of both stages; or codec_steps and lstm_steps, and then the run is reproducible
    """

    out: Path
    folder: Path | None = None
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
    songs, held_out = split(_songs(plan, report))
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    device = best_device()
    codec, codec_curve = _train_codec(plan, songs, held_out, device, report)
    sequences = [encode_song(song, codec, device) for song in songs]
    held_sequences = [encode_song(song, codec, device) for song in held_out]
    config = LstmConfig(stream_sizes=(N_CHORD_CLASSES, *codec.config.stream_sizes), **plan.lstm_shape)
    facts = _facts(plan, songs, held_out, codec_curve)
    stage = LstmStage(
        sequences,
        held_sequences,
        device,
        config,
        songs_id(songs, held_out),
        lambda lstm, curve: save_checkpoint(plan.out, codec, lstm, facts | {"lstm_curve": curve}),
    )
    curve = train(stage, plan.budget(plan.lstm_steps, 1 - CODEC_SHARE), plan.work / "lstm.state", plan.resume, report)
    info = facts | {"lstm_curve": curve} | _bits(stage, held_sequences)
    save_checkpoint(plan.out, codec, stage.model, info)
    report(json.dumps(info["bits_per_step"]))
    report(f"wrote {plan.out}")


def _prepare_work(plan: Plan) -> None:
    """Make room for the run; without resume, nothing of an earlier one is left to be taken for its own."""
    try:
        plan.work.mkdir(parents=True, exist_ok=True)
        if not plan.resume:
            for name in ("codec.state", "codec.safetensors", "lstm.state"):
                (plan.work / name).unlink(missing_ok=True)
    except OSError as error:
        raise KpopError(f"{plan.work} cannot be written ({error.strerror}): choose another --out.") from error


def _songs(plan: Plan, report: Report) -> list[Song]:
    if plan.folder is not None:
        from kpop.training.folder_songs import folder_songs  # needs soundfile and librosa; our own corpus does not

        return folder_songs(plan.folder, plan.work / "songs", report)
    from kpop.training.corpus_songs import corpus_songs

    return corpus_songs(plan.n_songs, plan.work / f"corpus-{_corpus_version()}", plan.n_jobs, report)


def _corpus_version() -> str:
    """Changes with the code that our songs come from, so that a stale cache is never used."""
    room = Path(kpop.corpus.__file__).parent
    sources = [*sorted(room.glob("*.py")), room.parent / "grid.py", room.parent / "audio" / "loudness.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def _train_codec(
    plan: Plan, songs: list[Song], held_out: list[Song], device: torch.device, report: Report
) -> tuple[Codec, list[dict[str, float]]]:
    """The codec as the checkpoint will hold it, so that the LSTM learns the very codes it will meet."""
    stage = CodecStage(songs, held_out, device, plan.codec_config)
    done = plan.work / "codec.safetensors"
    if plan.resume and done.exists():
        codec, info = load_codec(done)
        return codec.to(device), info["codec_curve"]
    curve = train(stage, plan.budget(plan.codec_steps, CODEC_SHARE), plan.work / "codec.state", plan.resume, report)
    save_checkpoint(done, stage.model, None, {"codec_curve": curve})
    return load_codec(done)[0].to(device), curve


def _bits(stage: LstmStage, held_out: list[Sequence]) -> dict:
    """The table of bits a step on held-out songs, LSTM and baselines, chord and codes together and apart."""
    stage.model.eval()
    sizes = stage.model.config.stream_sizes
    rows = {
        "lstm": _mean_over_steps(stage, held_out),
        "unigram": baselines.unigram_bits(stage.sequences, held_out, sizes),
        "same as one bar ago": baselines.bar_ago_bits(stage.sequences, held_out, sizes),
    }
    table = {name: {"all": bits.sum(), "codes": bits[1:].sum(), "streams": bits} for name, bits in rows.items()}
    return {"bits_per_step": json.loads(json.dumps(table, default=lambda value: value.round(3).tolist()))}


def _mean_over_steps(stage: LstmStage, held_out: list[Sequence]) -> np.ndarray:
    """Bits a step (n_streams,), each song heard as a whole and counted by its length."""
    lengths = [len(song.slots) for song in held_out]
    bits = [bits_by_stream(stage.model, [song], len(song.slots), stage.device) for song in held_out]
    return np.average(bits, axis=0, weights=lengths)


def _facts(plan: Plan, songs: list[Song], held_out: list[Song], codec_curve: list) -> dict:
    return {
        "data": str(plan.folder.name) if plan.folder else f"own corpus, version {_corpus_version()}",
        "n_songs": len(songs),
        "held_out": [song.name for song in held_out],
        "metronome_rate": metronome_rate(songs),
        "knows_chords": any(song.chords.any() for song in songs),
        "codec_curve": codec_curve,
    }
