"""From songs to a checkpoint: interrupted, resumed, with good songs and bad."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_CODEC, TINY_LSTM
from safetensors.torch import load_file

from kpop.audio.beat import metronome
from kpop.audio.stft import log_magnitude, stft
from kpop.checkpoint import load_checkpoint, load_codec
from kpop.constants import LABEL_SIZES, STEPS_PER_BEAT
from kpop.errors import KpopError
from kpop.training import data, loop, lstm
from kpop.training.data import Sequence
from kpop.training.train import Plan, run

ROOT = Path(__file__).parents[1]


def tiny_plan(out: Path, folder: Path, **changes) -> Plan:
    steps = {"codec_steps": 8, "lstm_steps": 8}
    return Plan(out=out, folder=folder, lstm_shape=TINY_LSTM, **({"codec_config": TINY_CODEC} | steps | changes))


class Stopped(Exception):
    pass


def interrupt_at(monkeypatch, name: str, step: int):
    """Make training save its state after every step and die at a step of a stage."""
    original = loop._step

    def step_or_die(stage, optimiser, number, share_used):
        if stage.name == name and number == step:
            raise Stopped
        original(stage, optimiser, number, share_used)

    monkeypatch.setattr(loop, "_step", step_or_die)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)


@pytest.mark.parametrize("stage", ["codec", "lstm"])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, songs_folder, monkeypatch, stage):
    run(tiny_plan(tmp_path / "whole.safetensors", songs_folder), lambda line: None)
    with monkeypatch.context() as patch:
        interrupt_at(patch, stage, 5)
        with pytest.raises(Stopped):
            run(tiny_plan(tmp_path / "cut.safetensors", songs_folder), lambda line: None)
    lines = []
    run(tiny_plan(tmp_path / "cut.safetensors", songs_folder, resume=True), lines.append)
    assert f"{stage}: going on from step 5" in lines
    whole, cut = load_file(tmp_path / "whole.safetensors"), load_file(tmp_path / "cut.safetensors")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_that_is_not_resumed_forgets_the_one_before(tmp_path, songs_folder, monkeypatch):
    out = tmp_path / "m.safetensors"
    run(tiny_plan(out, songs_folder), lambda line: None)
    with monkeypatch.context() as patch:
        interrupt_at(patch, "codec", 0)
        with pytest.raises(Stopped):
            run(tiny_plan(out, songs_folder), lambda line: None)
    assert not list(out.with_suffix(".work").glob("*.state"))


def test_a_state_of_another_shape_is_one_clear_sentence(tmp_path, songs_folder, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, "codec", 2)
        with pytest.raises(Stopped):
            run(tiny_plan(tmp_path / "m.safetensors", songs_folder), lambda line: None)
    wider = replace(TINY_CODEC, decoder_width=48)
    with pytest.raises(KpopError, match="without --resume"):
        run(tiny_plan(tmp_path / "m.safetensors", songs_folder, codec_config=wider, resume=True), lambda line: None)


def test_a_killed_process_leaves_a_state_to_resume_from(tmp_path, songs_folder):
    command = [sys.executable, "-m", "kpop", "train", str(songs_folder), "--out", str(tmp_path / "m")]
    steps = ["--codec-steps", "2", "--lstm-steps", "400"]
    process = subprocess.Popen([*command, *steps], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    codec = tmp_path / "m.work" / "codec.safetensors"
    deadline = time.monotonic() + 120
    while not codec.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    load_codec(codec)  # whole, not half written
    done = subprocess.run(
        [*command, "--codec-steps", "2", "--lstm-steps", "1", "--resume"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    load_checkpoint(tmp_path / "m.safetensors")


def test_steps_lower_the_held_out_error(tmp_path, songs_folder):
    held_out = []
    for steps in (1, 60):
        out = tmp_path / f"{steps}.safetensors"
        run(tiny_plan(out, songs_folder, codec_steps=steps, lstm_steps=steps), lambda line: None)
        info = load_checkpoint(out)[2]
        held_out.append((info["codec_curve"][-1]["held_out"], info["bits_per_step"]["lstm"]["all"]))
    assert held_out[1][0] < 0.7 * held_out[0][0]
    assert held_out[1][1] < 0.97 * sum(np.log2(size) for size in (*LABEL_SIZES, 32, 32, 32)), "better than any guess"


def test_a_run_can_go_on_from_a_trained_model(tmp_path, songs_folder, tiny_model):
    out = tmp_path / "m.safetensors"
    run(tiny_plan(out, songs_folder, start=tiny_model, codec_steps=0, lstm_steps=1), lambda line: None)
    before, after = load_checkpoint(tiny_model), load_checkpoint(out)
    assert torch.equal(before[0].decoder.leave.weight, after[0].decoder.leave.weight)
    moved = (before[1].lstm.weight_hh_l0 - after[1].lstm.weight_hh_l0).abs().max()
    assert 0 < moved < 0.01
    run(tiny_plan(out, None, n_songs=3, start=tiny_model, codec_steps=40, lstm_steps=1), lambda line: None)
    after = load_checkpoint(out)[2]["codec_curve"]
    assert after[-1]["held_out"] < before[2]["codec_curve"][-1]["held_out"]


def test_some_of_the_start_can_be_kept(tmp_path, songs_folder, tiny_model):
    weights = []
    for keep in (0.0, 0.5, 1.0):
        plan = tiny_plan(tmp_path / "m", songs_folder, start=tiny_model, keep=keep, codec_steps=0, lstm_steps=40)
        run(replace(plan, out=tmp_path / f"{keep}.safetensors"), lambda line: None)
        weights.append(load_checkpoint(tmp_path / f"{keep}.safetensors")[1].lstm.bias_hh_l0)
    start = load_checkpoint(tiny_model)[1].lstm.bias_hh_l0
    assert torch.allclose(weights[2], start, atol=1e-3)
    assert torch.allclose(weights[1], (weights[0] + start) / 2, atol=1e-3)
    assert (weights[0] - start).abs().max() > 2e-3


def test_snapshots_tell_how_it_learnt(tmp_path, songs_folder):
    out = tmp_path / "m.safetensors"
    run(tiny_plan(out, songs_folder, codec_steps=2, lstm_steps=35), lambda line: None)
    codes = load_file(tmp_path / "m.snapshots.safetensors")
    assert set(codes) == {f"codes.{step}" for step in (0, 10, 30, 35)}
    assert all(c.shape == (lstm.N_STEPS, 3) for c in codes.values())
    assert not torch.equal(codes["codes.0"], codes["codes.35"])


def test_codes_are_made_once_for_a_codec_and_a_song(tmp_path, tiny_model, beat, monkeypatch):
    codec, cpu = load_codec(tiny_model)[0], torch.device("cpu")
    whole = data.Song("a", data.to_int16(beat), np.zeros(len(beat) // 480, np.int16), data.no_labels(len(beat) // 480))
    first = data.encode_songs([whole], codec, cpu, tmp_path)[0]
    other = replace(whole, waveform=whole.waveform // 2)
    assert not np.array_equal(data.encode_songs([other], codec, cpu, tmp_path)[0].streams, first.streams)
    monkeypatch.setattr(data, "encode", lambda *rest: pytest.fail("encoded again"))
    assert np.array_equal(data.encode_songs([whole], codec, cpu, tmp_path)[0].streams, first.streams)
    codec.bin_mean += 1
    with pytest.raises(pytest.fail.Exception):
        data.encode_songs([whole], codec, cpu, tmp_path)


def test_resuming_with_other_songs_is_one_clear_sentence(tmp_path, songs_folder, beat, monkeypatch):
    folder = tmp_path / "mine"
    shutil.copytree(songs_folder, folder)
    with monkeypatch.context() as patch:
        interrupt_at(patch, "codec", 2)
        with pytest.raises(Stopped):
            run(tiny_plan(tmp_path / "m.safetensors", folder), lambda line: None)
    soundfile.write(folder / "new.wav", beat[::-1], 16_000)
    with pytest.raises(KpopError, match="had other songs"):
        run(tiny_plan(tmp_path / "m.safetensors", folder, resume=True), lambda line: None)


def test_training_needs_a_folder_with_songs(tmp_path):
    with pytest.raises(KpopError, match="no folder"):
        run(tiny_plan(tmp_path / "m.safetensors", tmp_path / "nowhere"), print)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KpopError, match="no songs in"):
        run(tiny_plan(tmp_path / "m.safetensors", tmp_path / "empty"), print)


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


def test_only_bad_songs_are_an_error_that_says_so(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(KpopError, match="None of the 1 files"):
        data.folder_songs(tmp_path, tmp_path / "cache", lambda line: None)


def test_a_song_is_prepared_once(tmp_path, songs_folder, monkeypatch):
    data.folder_songs(songs_folder, tmp_path, lambda line: None)
    monkeypatch.setattr(data, "folder_song", lambda path, name: pytest.fail("prepared again"))
    assert len(data.folder_songs(songs_folder, tmp_path, lambda line: None)) == 4


def test_a_damaged_cache_is_made_again(tmp_path, songs_folder):
    data.folder_songs(songs_folder, tmp_path, lambda line: None)
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:1000])
    assert len(data.folder_songs(songs_folder, tmp_path, lambda line: None)) == 4


def song(name: str) -> data.Song:
    return data.Song(name, np.zeros(480, np.int16), np.zeros(1, np.int16), data.no_labels(1))


def test_the_split_is_by_song_and_does_not_depend_on_order():
    all_songs = [song(f"s{i}") for i in range(60)]
    train, held_out = data.split(all_songs)
    assert {s.name for s in train}.isdisjoint(s.name for s in held_out)
    assert len(train) + len(held_out) == 60
    assert len(held_out) >= 2
    assert [s.name for s in data.split(all_songs[::-1])[1]] == [s.name for s in held_out]
    more = data.split([*all_songs, *(song(f"t{i}") for i in range(200))])
    assert {s.name for s in held_out} <= {s.name for s in more[1]}
    assert {s.name for s in train} <= {s.name for s in more[0]}


def test_the_corpus_is_the_same_whatever_its_comments_and_another_with_other_code():
    def code(text: str) -> str:
        return data.NOT_CODE.sub("", text)

    assert code("A = 1  # one\n\nB = 2\n") == code("A  =  1\nB = 2  # two\n")
    assert code("A = 1\n") != code("A = 2\n")


def test_one_song_is_too_few_to_hold_one_out():
    with pytest.raises(KpopError, match="at least two"):
        data.split([song("alone")])


def test_features_equal_the_spectrum_that_generation_sees(beat):
    whole = data.Song("beat", data.to_int16(beat), np.zeros(len(beat) // 480, np.int16), data.no_labels(1))
    expected = log_magnitude(np.abs(stft(beat)))
    piece = data.log_magnitude(torch.from_numpy(data.cut(whole, 100, 20)).unsqueeze(0))[0].numpy()
    loud = expected[200:240] > np.log(1e-2)
    assert np.abs(piece - expected[200:240])[loud].max() < 0.02
    first = data.log_magnitude(torch.from_numpy(data.cut(whole, 0, 5)).unsqueeze(0))[0].numpy()
    assert np.abs(first - expected[:10])[expected[:10] > np.log(1e-2)].max() < 0.02


def test_the_metronome_follows_the_beat_of_a_real_song(beat):
    slots, tempo = metronome(beat)
    assert tempo == pytest.approx(125, rel=0.02)
    on_beat = slots[np.round(np.arange(4, 16) * 0.48 / 0.03).astype(int)] % STEPS_PER_BEAT
    assert np.isin(on_beat, [0, 1, 2, STEPS_PER_BEAT - 1, STEPS_PER_BEAT - 2]).all()


def test_the_metronome_stretches_with_the_tempo():
    clicks = np.zeros(20 * 16_000, np.float32)
    for beat_start in np.arange(0, 20, 60 / 100):
        start = int(beat_start * 16_000)
        clicks[start : start + 800] += np.sin(np.arange(800) * 0.1).astype(np.float32)
    slots, tempo = metronome(clicks)
    assert tempo == pytest.approx(100, rel=0.03)
    stretched = data.Song("clicks", np.zeros(0, np.int16), slots[100:500], data.no_labels(0))
    assert data.metronome_rate([stretched]) == pytest.approx(100 / 125, rel=0.03)


def test_the_bar_ago_baseline_is_sure_of_a_loop_and_no_better_than_frequencies_on_chance():
    rng = np.random.default_rng(0)
    loops = [Sequence(np.tile(rng.integers(8, size=(64, 1)), (6, 1)).astype(np.int16), np.zeros(384)) for _ in range(8)]
    chance = [Sequence(rng.integers(8, size=(384, 1)).astype(np.int16), np.zeros(384)) for _ in range(8)]
    assert lstm.bar_ago_bits(loops[:4], loops[4:], (8,))[0] < 0.1
    assert lstm.unigram_bits(chance[:4], chance[4:], (8,))[0] == pytest.approx(3, abs=0.05)
    assert lstm.bar_ago_bits(chance[:4], chance[4:], (8,))[0] == pytest.approx(3, abs=0.05)
