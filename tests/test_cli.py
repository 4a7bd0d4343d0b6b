"""The commands do what they say, explain themselves at once, and answer a mistake with one sentence."""

import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from kpop import cli
from kpop.cli import main
from kpop.constants import SAMPLE_RATE_HZ
from kpop.generation.metadata import read_metadata
from kpop.settings import Settings

ROOT = Path(__file__).parents[1]
COMMANDS = ("generate", "train", "corpus", "clips", "index", "evaluate", "resynthesize", "feedback", "bench")


def test_generate_writes_the_song_and_its_settings_the_same_each_time(tiny_model, beat, tmp_path, capsys):
    out, files = tmp_path / "song.wav", []
    soundfile.write(tmp_path / "mine.wav", beat, SAMPLE_RATE_HZ)
    options = f"--seconds 5 --temperature 0.8 --randomness 0.5 --seed 3 --clip {tmp_path}/mine.wav"
    for _ in range(2):
        assert main(f"generate --out {out} --model {tiny_model} {options}".split()) == 0
        files.append(out.read_bytes())
    assert files[0] == files[1]
    waveform, rate_hz = soundfile.read(out)
    assert (waveform.shape, rate_hz) == ((5 * SAMPLE_RATE_HZ,), SAMPLE_RATE_HZ)
    assert np.abs(waveform).max() > 0.1
    settings = read_metadata(files[0])
    assert settings == Settings(0.5, 0.8, 5.0, 3, "mine.wav", settings.model)
    assert re.search(r"song\.wav: “.+”, 5 s: generated in s \d", capsys.readouterr().out)


def test_resynthesize_keeps_length_and_level(beat, tmp_path):
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, 0.3 * beat[: 3 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, "FLOAT")
    assert main(["resynthesize", str(source), str(out), "--stage", "magnitude"]) == 0
    before, after = soundfile.read(source)[0], soundfile.read(out)[0]
    assert len(before) == len(after)
    assert np.std(after) == pytest.approx(np.std(before), rel=0.05)


@pytest.mark.parametrize("name", ["v1.5", "v1.5.safetensors"])
def test_train_plans_what_the_options_say(name, tmp_path, monkeypatch):
    plans = []
    monkeypatch.setattr("kpop.training.train.run", lambda plan, report: plans.append(plan))
    options = ["--from", "twice4life", "--remixes", "10", "--hold-out", "B", "--minutes", "24", "--resume"]
    assert main(["train", "songs", "--out", str(tmp_path / name), *options]) == 0
    (plan,) = plans
    assert (plan.out, plan.start.name) == (tmp_path / "v1.5.safetensors", "twice4life.safetensors")
    assert (plan.folder, plan.n_remixes, plan.held_out_work, plan.minutes) == (Path("songs"), 10, "B", 24)
    assert plan.resume


@pytest.mark.parametrize(
    "arguments",
    [
        "generate --out x.wav --temperature 3",
        "generate --out x.wav --clip nowhere",
        "generate --out nowhere/x.wav --model nowhere.safetensors",
        "generate",
        "train --out x --songs 1",
        "train nowhere --out x",
        "train --out x --codec-steps 5",
        "corpus x --songs 0",
        "index --jobs 0",
        "evaluate --songs 0",
        "evaluate --seconds 5",
        "evaluate --seconds nan",
        "resynthesize nowhere.wav out.wav",
        "bench --listeners 1 none",
        "corpus a-file --songs 1",
        "evaluate --out a-file",
        "sing",
        "",
    ],
)
def test_a_mistake_is_answered_with_one_sentence(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert main(arguments.split()) == 2
    assert re.fullmatch(r"kpop: [^\n]+\n", capsys.readouterr().err)


def test_ctrl_c_ends_a_command_quietly(monkeypatch, capsys):
    monkeypatch.setattr("kpop.generation.clips.find_clip", Mock(side_effect=KeyboardInterrupt))
    assert main(["generate", "--out", "x.wav"]) == 130
    assert capsys.readouterr().err == "kpop: stopped\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_all_of_its_options(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert getattr(cli, command).__doc__ in text
    assert not re.search("None|False", text)
    assert command != "generate" or f"4 to 300 (default: {Settings().length_s})" in text


def test_help_needs_no_heavy_package():
    heavy = "['torch', 'librosa', 'soundfile', 'scipy', 'numba', 'streamlit']"
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy})); from kpop.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(COMMANDS) <= set(done.stdout.split())
