"""The first design, which ours is measured against: blocks of DFT, a regression, one checkpoint."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kpop.__main__ import main
from kpop.audio.loudness import normalise
from kpop.errors import KpopError
from kpop.firstdesign.blocks import BLOCK_SAMPLES, N_NUMBERS, analyse, synthesise
from kpop.firstdesign.network import FirstDesign, FirstDesignConfig
from kpop.firstdesign.training import FirstDesignStage
from kpop.grid import SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.training.loop import Budget, train
from kpop.training.songs import Song, no_labels, split, to_int16

SINE_HZ = 440.0  # not a whole number of cycles a block, so the phase of the next one has to be learnt


def sine(n_samples: int, first_sample: int = 0) -> np.ndarray:
    time_s = (first_sample + np.arange(n_samples)) / SAMPLE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * SINE_HZ * time_s)).astype(np.float32)


def as_song(name: str, waveform: np.ndarray) -> Song:
    samples = to_int16(waveform)
    n_steps = len(samples) // STEP_SAMPLES
    return Song(name, samples, np.zeros(n_steps, np.int16), no_labels(n_steps))


@pytest.fixture(scope="module")
def sine_stage(tmp_path_factory) -> FirstDesignStage:
    """A small network that has heard nothing but a sine."""
    folder = tmp_path_factory.mktemp("sine")
    songs = [as_song(f"sine {index}", sine(6 * BLOCK_SAMPLES, 1000 * index)) for index in range(4)]
    device, config = torch.device("cpu"), FirstDesignConfig(hidden=24)
    stage = FirstDesignStage(songs[:3], songs[3:], device, config, folder / "sine.safetensors")
    stage.learning_rate = 5e-3
    stage.publish(train(stage, Budget(steps=200), folder / "sine.state", False, lambda line: None))
    return stage


@pytest.fixture
def untrained() -> FirstDesign:
    torch.manual_seed(0)
    return FirstDesign(FirstDesignConfig(hidden=8, layers=2), {"steps": 0}).eval()


def test_blocks_are_the_plain_dft_and_back():
    waveform = torch.randn(3 * BLOCK_SAMPLES, generator=torch.Generator().manual_seed(1))
    numbers = analyse(waveform)
    truth = np.fft.rfft(waveform[BLOCK_SAMPLES : 2 * BLOCK_SAMPLES].numpy(), norm="ortho")
    np.testing.assert_allclose(numbers[1], np.concatenate([truth.real, truth.imag]), atol=1e-4)
    np.testing.assert_allclose(synthesise(numbers), waveform, atol=1e-5)


def test_what_does_not_fill_a_block_is_left_out():
    assert analyse(torch.zeros(2, BLOCK_SAMPLES * 2 - 1)).shape == (2, 1, N_NUMBERS)


def test_a_sine_is_learnt_and_goes_on(sine_stage):
    n_seed, n_samples = 4 * BLOCK_SAMPLES, 2 * BLOCK_SAMPLES
    for shift in (0, 7, 21):  # other phases than the songs began with
        song = FirstDesign.load(sine_stage.out).generate(sine(n_seed, shift), n_samples)
        truth = normalise(sine(n_samples, n_seed + shift))
        assert np.square(song - truth).mean() < 0.25 * np.square(truth).mean()


def test_training_beats_what_needs_none_on_held_out_songs(sine_stage):
    info = FirstDesign.load(sine_stage.out).info
    assert min(point["held_out"] for point in info["curve"]) < 0.25 * min(info["held_out_of_guesses"].values())
    assert (info["n_songs"], info["steps"]) == (3, 200)


def test_statistics_are_those_of_the_songs(sine_stage):
    blocks = sine_stage._standardised(np.stack([song.waveform for song in sine_stage.songs])).flatten(0, 1)
    heard = sine_stage.model.std > 0.01
    assert heard.sum() > 100
    assert blocks.mean(0).abs().max() < 0.5  # a few blocks, begun elsewhere than those that the statistics are from
    np.testing.assert_allclose(blocks.std(0)[heard], 1, atol=0.5)


@pytest.mark.parametrize(("n_seed", "n_samples"), [(0, 1), (100, 8191), (8192, 8192), (30_000, 20_001), (9_000, 0)])
def test_a_continuation_is_as_long_as_asked_and_finite(untrained, n_seed, n_samples):
    song = untrained.generate(np.random.default_rng(0).normal(size=n_seed).astype(np.float32), n_samples)
    assert (song.shape, song.dtype) == ((n_samples,), np.float32)
    assert np.isfinite(song).all()
    assert np.abs(song).max(initial=0.0) <= 1


def test_a_continuation_depends_on_the_end_of_the_seed_alone(untrained):
    seed = sine(2 * BLOCK_SAMPLES)
    after_junk = untrained.generate(np.concatenate([np.ones(100, np.float32), seed]), 9000)
    assert np.array_equal(after_junk, untrained.generate(seed, 9000))
    assert not np.allclose(after_junk, untrained.generate(-seed, 9000))


def test_there_is_one_answer_whatever_the_temperature_and_the_seed_number(untrained):
    clip = sine(2 * BLOCK_SAMPLES)
    answers = [untrained.generate(clip, 9000, temperature, seed) for temperature, seed in ((0.0, 0), (1.5, 7))]
    assert np.array_equal(*answers)


def test_a_long_dream_stays_finite_even_after_noise_at_full_scale(sine_stage):
    noise = np.random.default_rng(3).uniform(-9, 9, 3 * BLOCK_SAMPLES).astype(np.float32)
    assert np.isfinite(sine_stage.model.generate(noise, 100 * BLOCK_SAMPLES)).all()


def test_a_seed_that_is_no_sound_is_refused(untrained):
    with pytest.raises(ValueError, match="NaN"):
        untrained.generate(np.full(9000, np.nan, np.float32), 100)


def test_saved_and_loaded_it_dreams_the_same(tmp_path, sine_stage):
    clip = sine(3 * BLOCK_SAMPLES)
    loaded = FirstDesign.load(sine_stage.out)
    loaded.save(tmp_path / "again.safetensors")
    again = FirstDesign.load(tmp_path / "again.safetensors")
    assert not again.training
    assert (again.config, again.info) == (loaded.config, loaded.info)
    assert np.array_equal(again.generate(clip, 20_000), loaded.generate(clip, 20_000))
    np.testing.assert_allclose(loaded.generate(clip, 20_000), sine_stage.model.generate(clip, 20_000), atol=0.05)


def test_missing_weights_are_one_clear_sentence(tmp_path):
    with pytest.raises(KpopError, match="There are no weights called none"):
        FirstDesign.load(tmp_path / "none.safetensors")


def test_damaged_weights_are_one_clear_sentence(tmp_path, untrained):
    path = tmp_path / "bad.safetensors"
    untrained.save(path)
    for content in (b"", b"nonsense" * 50, path.read_bytes()[: path.stat().st_size // 2]):
        path.write_bytes(content)
        with pytest.raises(KpopError, match="damaged"):
            FirstDesign.load(path)


def test_weights_of_something_else_are_one_clear_sentence(tmp_path, untrained):
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(KpopError, match="not a first design"):
        FirstDesign.load(path)
    with torch.no_grad():
        untrained.leave.bias[0] = torch.nan
    untrained.save(path)
    with pytest.raises(KpopError, match="not a first design"):
        FirstDesign.load(path)


def test_the_command_trains_on_our_corpus_and_keeps_the_files_small(tmp_path, monkeypatch, capsys, beat):
    songs = [as_song(f"song {index}", np.roll(beat, 5000 * index)) for index in range(4)]
    asked = []
    monkeypatch.setattr(
        "kpop.firstdesign.training.corpus_songs", lambda n, cache, jobs, report: asked.append((n, cache, jobs)) or songs
    )
    out = tmp_path / "first.safetensors"
    words = ["--songs", "4", "--minutes", "0.001", "--jobs", "1", "--cache", str(tmp_path / "shared")]
    assert main(["first-design", "--out", str(out), *words]) == 0
    (n_songs, cache, n_jobs) = asked[0]
    assert (n_songs, cache.parent, n_jobs) == (4, tmp_path / "shared", 1)
    assert out.stat().st_size <= 10_000_000
    assert FirstDesign.load(out).info["n_songs"] == len(split(songs)[0])
    assert {t.dtype for name, t in load_file(out).items() if name not in ("mean", "std")} == {torch.float16}
    assert "held_out" in capsys.readouterr().out


def test_impossible_numbers_are_refused(tmp_path, capsys):
    for wrong in (["--songs", "1"], ["--jobs", "0"], ["--minutes", "0"], ["--minutes", "nan"]):
        assert main(["first-design", "--out", str(tmp_path / "x"), *wrong]) == 2
    assert "--minutes above 0" in capsys.readouterr().err
