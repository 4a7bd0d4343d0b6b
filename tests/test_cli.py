"""The commands do what they say and answer a mistake with one sentence; documents name only what exists."""

import re
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from kpop import bench, cli
from kpop.bench import Playback, Row, playback
from kpop.cli import main, parser
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.generation.clips import CLIPS_DIR
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
    assert re.search(r"Written: \S+song\.wav, “.+”, 5 s, generated in \d", capsys.readouterr().out)


@pytest.mark.parametrize(("suffix", "format"), [("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3")])
def test_generate_writes_the_format_of_the_suffix_and_takes_a_clips_title(suffix, format, tiny_model, tmp_path):
    out = tmp_path / f"song.{suffix}"
    assert (
        main(["generate", "--out", str(out), "--model", str(tiny_model), "--seconds", "4", "--clip", "Neon rain"]) == 0
    )
    with soundfile.SoundFile(out) as file:
        assert (file.format, file.artist, len(file)) == (format, "Twice4Life", pytest.approx(64_000, abs=2_500))
        assert '"clip": "neon-rain"' in file.comment


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
        "generate --out x.txt",
        "generate --out a-file/x.wav",
        "evaluate --model nowhere",
        "generate --out nowhere/x.wav --model nowhere.safetensors",
        "generate",
        "train --out x --songs 1",
        "train nowhere --out x",
        "train --out x --codec-steps 5 --lstm-steps 5",
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
    assert command != "generate" or f"4 to 300 (default: {Settings().length_s:g})" in text


def test_help_needs_no_heavy_package():
    heavy = "['torch', 'librosa', 'soundfile', 'scipy', 'numba', 'streamlit']"
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy})); from kpop.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(COMMANDS) <= set(done.stdout.split())


DOCUMENTS = ("README.md", "kpop/README.md", "models/README.md")
FILE = r"(?:[\w.-]+/)*[\w-]*\.(?:py|md|txt|toml|css|js|svg|png|json|safetensors|flac)"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `python -m kpop ...` in the documents, without comments."""
    found = re.findall(r"python -m kpop ([^`\n]*)", "\n".join(map(text, DOCUMENTS)))
    return sorted({line.split("  #")[0].strip() for line in found})


def named_files() -> list[tuple[str, str]]:
    """Files in links and in backticks, with the document that names them."""
    found = set()
    for document in DOCUMENTS:
        linked = re.findall(r"\]\(((?!http)[^)#]+)\)", text(document))
        quoted = re.findall(rf"`({FILE})`", text(document))
        found |= {(document, name) for name in linked + quoted}
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_every_command_and_option_shown_exists(command):
    words = shlex.split(command)
    if "--help" in words or len(words) == 1 or words[0].isupper():  # a command's name alone
        words = words[:1]
        assert words[0] in parser().format_help() or words[0].isupper() or words[0] == "--help"
        return
    parser().parse_args(words)


@pytest.mark.parametrize(("document", "name"), named_files())
def test_every_file_named_is_there(document, name):
    places = (ROOT / document).parent, ROOT, ROOT / "kpop"
    assert any((place / name).exists() for place in places), f"{document} names {name}"


def test_the_readme_is_short_and_its_two_commands_are_those_of_continuous_integration():
    readme = text("README.md")
    assert len(readme.split()) <= 1300
    assert (len(commands()) >= 5, len(named_files()) >= 20) == (True, True), "there is something to check above"
    first_screen = readme[: readme.index("## ")]
    assert "-r requirements.txt && .venv/bin/python -m streamlit run app.py" in first_screen
    test_command = re.search(r"^python3 -m venv .* -m pytest$", first_screen, re.MULTILINE).group()
    assert test_command in text(".ci/run")


@pytest.mark.parametrize(
    ("first_sound_s", "n_underruns", "arrivals"),
    [
        (0.3, 0, [(0.1, 100_000), (0.3, 240_000), (0.9, 960_000)]),
        (0.4, 0, [(0.1, 100_000), (0.4, 128_000)]),  # all of a short file
        (1.0, 2, [(1.0, 240_000), (10.0, 272_000), (10.9, 304_000), (13.0, 336_000)]),  # 7.5 s of sound, 1 s, 1 s
        (1.0, 0, [(1.0, 240_000), (8.4, 272_000)]),
    ],
)
def test_sound_starts_as_in_chromium_and_each_gap_is_an_underrun(first_sound_s, n_underruns, arrivals):
    assert playback(arrivals) == Playback(first_sound_s, arrivals[-1][0], n_underruns)


def test_a_row_says_whether_its_target_is_met():
    assert str(Row("first sound", 2.5, "s", 3.0)).endswith("2.5 s   wanted <= 3: met")
    assert str(Row("underruns", 1, "", 0)).endswith("wanted <= 0: MISSED")
    assert str(Row("memory", float("nan"), "MB", 700)).endswith("MISSED")
    assert "wanted" not in str(Row("seed", 0.1, "s"))


def test_generation_is_measured_stage_by_stage(tiny_model, monkeypatch):
    monkeypatch.setattr(bench, "checkpoint_path", lambda name: tiny_model)
    monkeypatch.setattr(bench, "SONG_S", 4.0)
    rows = {row.name: row.value for row in bench.generation_rows(1)}
    assert {"sampler: a step of 50 songs", "- render", "- sampler"} <= set(rows)
    assert rows.pop("- ours") < rows.pop("- its spectral convergence") < 0
    assert min(rows.values()) > 0


def test_listeners_of_a_real_server_get_whole_songs(tiny_model, tmp_path, monkeypatch):
    shutil.copytree(CLIPS_DIR, tmp_path / "clips")
    shutil.copy(tiny_model, tmp_path / "twice4life.safetensors")
    monkeypatch.setenv("KPOP_MODELS_DIR", str(tmp_path))
    rows = {row.name: row.value for row in bench.load_rows([2], n_rounds=1)}
    assert 0 < rows["2 listeners: first sound, median"] <= rows["- 95th percentile"] <= rows["- last song complete"]
    assert rows["- memory of the server without the page"] > 50


@pytest.mark.parametrize(("part", "reason"), [(b"", "timed out"), (b"-", "not complete after 0.5 s")])
def test_a_server_that_sends_nothing_or_never_ends_is_left_in_time(part, reason, monkeypatch):
    class SlowSong(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n/song.wav")

        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(OSError):
                while not is_over.wait(0.01):
                    self.wfile.write(part)

    is_over = threading.Event()
    monkeypatch.setattr(bench, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(bench, "SONG_TIMEOUT_S", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowSong) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(KpopError, match=reason):
            bench.listen(server.server_port, 0)
        is_over.set()
        server.shutdown()


def test_a_server_that_does_not_start_and_a_browser_that_is_not_there_are_one_sentence(monkeypatch):
    with pytest.raises(KpopError, match="did not start"), bench.serving(("kpop", "sing"), "/"):
        pass
    monkeypatch.setattr(bench.shutil, "which", lambda program: None)
    with pytest.raises(KpopError, match="needs Chromium"):
        next(bench.page_rows(1))
