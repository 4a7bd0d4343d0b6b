"""From songs to a checkpoint: killed, resumed, with good songs and bad."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_CODEC, TINY_LSTM
from safetensors.torch import load_file

from kpop.audio.stft import log_magnitude, stft
from kpop.checkpoint import load_checkpoint
from kpop.cli import main
from kpop.constants import LABEL_SIZES
from kpop.errors import KpopError
from kpop.training import data, lstm
from kpop.training.data import TokenSequence, TrainingSong
from kpop.training.train import Plan, run

# `python -m kpop`, but the state is saved after every step
MAIN = "from kpop.cli import main\nif __name__ == '__main__':\n    raise SystemExit(main())\n"
EAGER = "from kpop.training import loop; loop.SAVE_EVERY_S = 0; from kpop.cli import main; main()"


def train(out: Path, folder: Path | None, **changes) -> None:
    """A run of a few steps."""
    tiny = {"codec_steps": 8, "score_steps": 0, "lstm_steps": 8, "codec_config": TINY_CODEC, "lstm_shape": TINY_LSTM}
    run(Plan(out=out, folder=folder, **(tiny | changes)), lambda line: None)


def test_a_process_killed_in_both_stages_resumes_to_the_weights_of_an_unbroken_run(
    tmp_path, songs_folder, tiny_model, capsys
):
    def command(name: str, *more: str) -> list[str]:
        steps = ["--from", "scratch", "--codec-steps", "20", "--score-steps", "0", "--lstm-steps", "20"]
        return ["train", str(songs_folder), "--out", str(tmp_path / name), *steps, *more]

    assert main(command("whole")) == 0
    for stage, more in (("codec", ()), ("lstm", ("--resume",))):
        arguments = [sys.executable, "-c", EAGER, *command("cut", *more)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            while not (tmp_path / "cut.work" / f"{stage}.state").exists() and process.poll() is None:
                time.sleep(0.01)
            process.kill()
            assert not more or "Codec: going on from step" in process.communicate()[0]
        assert process.returncode < 0, "ended before it was killed"
    assert main(command("cut", "--resume")) == 0
    assert "LSTM: going on from step" in capsys.readouterr().out
    whole, cut = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_without_its_state_a_run_goes_on_from_the_weights_that_were_kept(tmp_path, songs_folder):
    out, lines = tmp_path / "m.safetensors", []
    train(out, songs_folder)
    (tmp_path / "m.work" / "lstm.state").unlink()
    before = load_file(tmp_path / "m.work" / "lstm.weights")
    tiny = {"codec_steps": 8, "score_steps": 0, "lstm_steps": 9, "lstm_shape": TINY_LSTM}
    run(Plan(out=out, folder=songs_folder, resume=True, **tiny), lines.append)
    assert "LSTM: going on from step 8" in lines
    after = load_file(tmp_path / "m.work" / "lstm.weights")
    assert all((after[name].float() - before[name].float()).abs().max() < 0.05 for name in before)
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_resuming_another_run_is_one_clear_sentence(tmp_path, songs_folder, beat):
    out, folder = tmp_path / "m.safetensors", tmp_path / "songs"
    train(out, songs_folder)
    with pytest.raises(KpopError, match="another one: train without --resume"):
        train(out, songs_folder, lstm_shape=TINY_LSTM | {"hidden": 64}, resume=True)
    shutil.copytree(songs_folder, folder)
    soundfile.write(folder / "new.wav", beat[::-1], 16_000)
    with pytest.raises(KpopError, match="had other songs"):
        train(out, folder, resume=True)
    with pytest.raises(KpopError, match="no folder"):
        train(out, tmp_path / "nowhere")
    assert not list(out.with_suffix(".work").glob("*.state")), "deleted without resume"


def test_steps_lower_the_held_out_error_and_snapshots_are_taken_on_the_way(tmp_path, songs_folder):
    figures = {}
    for n_steps in (1, 60):
        out = tmp_path / f"{n_steps}.safetensors"
        train(out, songs_folder, codec_steps=n_steps, lstm_steps=n_steps)
        figures[n_steps] = load_checkpoint(out)[2]
    held_out = [each["codec_curve"][-1]["held_out"] for each in figures.values()]
    assert held_out[1] < 0.7 * held_out[0]
    bits_of_a_guess = sum(np.log2(size) for size in (*LABEL_SIZES, 32, 32, 32))
    assert figures[60]["bits_per_step"]["lstm"]["all"] < 0.97 * bits_of_a_guess
    codes = load_file(tmp_path / "60.snapshots.safetensors")
    assert set(codes) == {f"codes.{step}" for step in (0, 10, 30, 60)}
    assert all(c.shape == (lstm.SNAPSHOT_LENGTH, 3) for c in codes.values())
    assert not torch.equal(codes["codes.0"], codes["codes.60"])


def test_a_trained_model_can_be_fine_tuned_on_recordings_and_keeps_its_codec(
    tmp_path, songs_folder, tiny_model, monkeypatch
):
    monkeypatch.setattr("kpop.training.train.N_MIXED_IN", 1)
    out = tmp_path / "fine.safetensors"
    train(out, songs_folder, start=tiny_model, lstm_steps=40)
    before, after = load_file(tiny_model), load_file(out)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("codec."))
    assert not any(name.startswith("score.") for name in after)
    assert 2e-3 < (after["lstm.lstm.bias_hh_l0"] - before["lstm.lstm.bias_hh_l0"]).abs().max() < 0.2


def test_two_processes_that_train_together_make_the_steps_of_one(tmp_path, songs_folder, tiny_model):
    steps = ["--codec-steps", "0", "--score-steps", "0", "--lstm-steps", "6", "--from", str(tiny_model)]
    script, moments = tmp_path / "script.py", []
    script.write_text(f"from kpop.training import train\ntrain.N_MIXED_IN = 1\n{MAIN}")
    for n_processes in (1, 2):
        out = tmp_path / f"{n_processes}.safetensors"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
        command = [*torchrun, str(script), "train", str(songs_folder), "--out", str(out), *steps]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
        moments.append(load_file(out.with_suffix(".work") / "lstm.state"))
    averaged = [name for name in moments[0] if name.endswith(".exp_avg") and moments[0][name].any()]
    assert len(averaged) > 10
    for name in averaged:  # of gradients
        alone, together = (each[name] for each in moments)
        assert (alone - together).abs().max() < 0.03 * alone.abs().max(), name


def test_training_needs_two_songs(tmp_path):
    with pytest.raises(KpopError, match="no songs in"):
        train(tmp_path / "m.safetensors", tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(KpopError, match="at least two usable songs"):
        train(tmp_path / "m.safetensors", tmp_path)


def test_the_split_is_by_song_and_depends_neither_on_order_nor_on_other_songs():
    songs = [TrainingSong(f"{i}", np.zeros(480), np.zeros(1), np.zeros((1, 4))) for i in range(260)]
    sides, reversed_sides, sides_of_more = (
        [{song.name for song in side} for side in data.split(some)] for some in (songs[:60], songs[59::-1], songs)
    )
    assert set.union(*sides) == {f"{i}" for i in range(60)}
    assert sum(map(len, sides)) == 60
    assert len(sides[1]) >= 2
    assert reversed_sides == sides
    assert all(side <= more for side, more in zip(sides, sides_of_more, strict=True))


def test_features_equal_those_of_generation(beat):
    song = TrainingSong("beat", data.to_int16(beat), np.zeros(len(beat) // 480), np.zeros((1, 4)))
    expected = log_magnitude(np.abs(stft(beat)))
    for first, n_steps in ((100, 20), (0, 5)):
        frames = expected[2 * first : 2 * (first + n_steps)]
        found = data.log_magnitude(torch.from_numpy(data.excerpt(song, first, n_steps)).unsqueeze(0))[0].numpy()
        assert np.abs(found - frames)[frames > np.log(1e-2)].max() < 0.02


def test_the_bar_ago_baseline_predicts_a_loop_and_random_tokens_no_better_than_their_frequencies():
    def sequences(n_distinct: int) -> list[TokenSequence]:
        tokens = rng.integers(8, size=(8, n_distinct, 1))
        return [TokenSequence(np.resize(each, (384, 1)), np.zeros(384), np.zeros(384)) for each in tokens]

    rng = np.random.default_rng(0)
    loops, noise = sequences(64), sequences(384)
    assert lstm.bar_ago_bits(loops[:4], loops[4:], (8,))[0] < 0.1
    for bits in (lstm.unigram_bits, lstm.bar_ago_bits):
        assert bits(noise[:4], noise[4:], (8,))[0] == pytest.approx(3, abs=0.05)
