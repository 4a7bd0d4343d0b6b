"""From songs to a checkpoint: interrupted, resumed, with good songs and bad."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_CODEC, TINY_LSTM
from safetensors.torch import load_file

from kpop.audio.stft import log_magnitude, stft
from kpop.checkpoint import load_checkpoint
from kpop.constants import LABEL_SIZES
from kpop.errors import KpopError
from kpop.training import data, lstm
from kpop.training.data import TokenSequence, TrainingSong
from kpop.training.loop import Trainer
from kpop.training.train import Plan, run


def train(out: Path, folder: Path | None, report=lambda line: None, **changes) -> None:
    """A run of a few steps."""
    tiny = {"codec_steps": 8, "lstm_steps": 8, "codec_config": TINY_CODEC, "lstm_shape": TINY_LSTM}
    run(Plan(out=out, folder=folder, **(tiny | changes)), report)


class Stopped(Exception):
    pass


def train_until(monkeypatch, stage: str, step: int, *args) -> None:
    """A run that saves its state after every step and stops before a step of a stage."""
    original = Trainer._step

    def step_or_stop(self) -> None:
        if (self.name, self.progress.step) == (stage, step):
            raise Stopped
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step_or_stop)
        patch.setattr("kpop.training.loop.SAVE_EVERY_S", 0.0)
        with pytest.raises(Stopped):
            train(*args)


@pytest.mark.parametrize("stage", ["codec", "lstm"])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, songs_folder, monkeypatch, stage):
    lines = []
    train(tmp_path / "whole.safetensors", songs_folder)
    train_until(monkeypatch, stage, 5, tmp_path / "cut.safetensors", songs_folder)
    train(tmp_path / "cut.safetensors", songs_folder, lines.append, resume=True)
    assert f"{stage}: going on from step 5" in lines
    whole, cut = load_file(tmp_path / "whole.safetensors"), load_file(tmp_path / "cut.safetensors")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_resuming_another_run_is_one_clear_sentence(tmp_path, songs_folder, beat, monkeypatch):
    out, folder = tmp_path / "m.safetensors", tmp_path / "mine"
    shutil.copytree(songs_folder, folder)
    train_until(monkeypatch, "codec", 2, out, folder)
    with pytest.raises(KpopError, match="another one: train without --resume"):
        train(out, folder, codec_config=replace(TINY_CODEC, decoder_width=48), resume=True)
    soundfile.write(folder / "new.wav", beat[::-1], 16_000)
    with pytest.raises(KpopError, match="had other songs"):
        train(out, folder, resume=True)
    train_until(monkeypatch, "codec", 0, out, folder)
    assert not list(out.with_suffix(".work").glob("*.state")), "deleted without resume"


def test_steps_lower_the_held_out_error(tmp_path, songs_folder):
    errors = []
    for steps in (1, 60):
        out = tmp_path / f"{steps}.safetensors"
        train(out, songs_folder, codec_steps=steps, lstm_steps=steps)
        info = load_checkpoint(out)[2]
        errors.append((info["codec_curve"][-1]["held_out"], info["bits_per_step"]["lstm"]["all"]))
    assert errors[1][0] < 0.7 * errors[0][0]
    assert errors[1][1] < 0.97 * sum(np.log2(size) for size in (*LABEL_SIZES, 32, 32, 32)), "better than any guess"


def test_a_trained_model_can_be_fine_tuned_and_some_of_it_kept(tmp_path, songs_folder, tiny_model):
    start, biases = load_checkpoint(tiny_model), []
    for keep in (0.0, 0.5, 1.0):
        out = tmp_path / f"{keep}.safetensors"
        train(out, songs_folder, start=tiny_model, keep=keep, codec_steps=0, lstm_steps=40)
        codec, model, _ = load_checkpoint(out)
        assert torch.equal(codec.decoder.leave.weight, start[0].decoder.leave.weight)
        biases.append(model.lstm.bias_hh_l0)
    before = start[1].lstm.bias_hh_l0
    assert 2e-3 < (biases[0] - before).abs().max() < 0.2
    assert torch.allclose(biases[1], (biases[0] + before) / 2, atol=1e-3)
    assert torch.allclose(biases[2], before, atol=1e-3)


def test_snapshots_are_taken_during_training(tmp_path, songs_folder):
    train(tmp_path / "m.safetensors", songs_folder, codec_steps=2, lstm_steps=35)
    codes = load_file(tmp_path / "m.snapshots.safetensors")
    assert set(codes) == {f"codes.{step}" for step in (0, 10, 30, 35)}
    assert all(c.shape == (lstm.SNAPSHOT_LENGTH, 3) for c in codes.values())
    assert not torch.equal(codes["codes.0"], codes["codes.35"])


def test_training_needs_a_folder_with_songs(tmp_path):
    with pytest.raises(KpopError, match="no folder"):
        train(tmp_path / "m.safetensors", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KpopError, match="no songs in"):
        train(tmp_path / "m.safetensors", tmp_path / "empty")
    (tmp_path / "empty" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(KpopError, match="at least two usable songs"):
        train(tmp_path / "m.safetensors", tmp_path / "empty")


def test_bad_songs_are_named_and_skipped(tmp_path, beat):
    for name in ("one.flac", "two.ogg", "three.mp3"):
        soundfile.write(tmp_path / name, beat, 16_000)
    soundfile.write(tmp_path / "short.wav", beat[:16_000], 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000 * 20), 16_000)
    (tmp_path / "broken.mp3").write_bytes(b"this is no music at all" * 100)
    (tmp_path / "notes.txt").write_text("not a song")
    shutil.copy(tmp_path / "one.flac", tmp_path / "zz copy.flac")
    lines = []
    usable = data.folder_songs(tmp_path, tmp_path / "cache", lines.append)
    assert {song.name for song in usable} == {"one.flac", "two.ogg", "three.mp3"}
    left_out = {line.split(":")[0].removeprefix("left out ") for line in lines if line.startswith("left out")}
    assert left_out == {"short.wav", "silent.wav", "broken.mp3", "zz copy.flac"}


def test_a_song_is_prepared_once_and_again_if_the_cache_is_damaged(tmp_path, songs_folder, monkeypatch):
    first = data.folder_songs(songs_folder, tmp_path, lambda line: None)
    with monkeypatch.context() as patch:
        patch.setattr(data, "folder_song", lambda path, name: pytest.fail("prepared again"))
        data.folder_songs(songs_folder, tmp_path, lambda line: None)
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:1000])
    again = data.folder_songs(songs_folder, tmp_path, lambda line: None)
    assert [song.waveform.tobytes() for song in again] == [song.waveform.tobytes() for song in first]


def test_the_split_is_by_song_and_depends_neither_on_order_nor_on_other_songs():
    def names(songs: list[TrainingSong]) -> set[str]:
        return {song.name for song in songs}

    def songs(letter: str, n: int) -> list[TrainingSong]:
        return [TrainingSong(f"{letter}{i}", np.zeros(480), np.zeros(1), data.no_labels(1)) for i in range(n)]

    train, held_out = data.split(songs("s", 60))
    assert names(train) | names(held_out) == names(songs("s", 60))
    assert len(train) + len(held_out) == 60
    assert len(held_out) >= 2
    assert names(data.split(songs("s", 60)[::-1])[1]) == names(held_out)
    more_train, more_held_out = data.split(songs("s", 60) + songs("t", 200))
    assert names(held_out) <= names(more_held_out)
    assert names(train) <= names(more_train)


def test_features_equal_those_of_generation(beat):
    song = TrainingSong("beat", data.to_int16(beat), np.zeros(len(beat) // 480), data.no_labels(1))
    expected = log_magnitude(np.abs(stft(beat)))
    for first, n_steps in ((100, 20), (0, 5)):
        frames = expected[2 * first : 2 * (first + n_steps)]
        found = data.log_magnitude(torch.from_numpy(data.excerpt(song, first, n_steps)).unsqueeze(0))[0].numpy()
        assert np.abs(found - frames)[frames > np.log(1e-2)].max() < 0.02


def test_the_bar_ago_baseline_predicts_a_loop_and_random_tokens_no_better_than_their_frequencies():
    rng = np.random.default_rng(0)
    loops, noise = (
        [TokenSequence(np.resize(rng.integers(8, size=(n, 1)), (384, 1)), np.zeros(384)) for _ in range(8)]
        for n in (64, 384)
    )
    assert lstm.bar_ago_bits(loops[:4], loops[4:], (8,))[0] < 0.1
    assert lstm.unigram_bits(noise[:4], noise[4:], (8,))[0] == pytest.approx(3, abs=0.05)
    assert lstm.bar_ago_bits(noise[:4], noise[4:], (8,))[0] == pytest.approx(3, abs=0.05)
