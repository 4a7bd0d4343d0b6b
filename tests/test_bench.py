"""The bench: do its figures say what happened, and does its listener without a browser really use the page?"""

import asyncio
import json
import math
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("streamlit")

from kpop.__main__ import main
from kpop.bench import design, endless, inversion, plan, soak, songs, steps
from kpop.bench.crowd import Evening, crowd_readings, evening
from kpop.bench.listener import Heard, Listener, Wishes
from kpop.bench.live import BYTES_PER_SAMPLE, HEAD_START_S, Playback, read_body
from kpop.bench.machine import Reader, cpu_name, n_cores
from kpop.bench.readings import Aim, Reading, as_json, failed, from_json, growth_exponent, several, single
from kpop.bench.server import MemoryWatch, Server, memory_mb
from kpop.bench.words import table_lines
from kpop.commands import bench
from kpop.errors import KpopError
from kpop.generation.checkpoints import DEFAULT_MODEL
from kpop.generation.clips import built_in_clips
from kpop.generation.instrument import Instrument
from kpop.generation.stamp import read_stamp
from kpop.grid import SAMPLE_RATE_HZ

ROOT = Path(__file__).parents[1]
SONG_S = 4.0
SHORT_SOAK_MINUTES = 0.1


def sound(seconds: float) -> int:
    """Bytes of so much sound."""
    return round(seconds * SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE


# Figures and words


def test_a_line_of_the_table_tells_figure_spread_target_and_whether_it_is_met():
    readings = [
        several("one part", "first sound", "s", [0.3, 0.4, 0.9], Aim(0.5), "as told"),
        single("one part", "gain", "x", 5.5, Aim(6, at_most=False)),
        single("another part", "figure", "MB", 1234.5),
    ]
    lines = table_lines(readings)
    first, gain, figure = (next(line for line in lines if name in line) for name in ("first sound", "gain", "figure"))
    assert first.split() == ["first", "sound", "0.4", "s", "0.3", "..", "0.9", "<=", "0.5", "met", "as", "told"]
    assert gain.split() == ["gain", "5.5", "x", ">=", "6", "missed"]
    assert figure.split() == ["figure", "1,234", "MB"]
    assert lines.index("one part") < lines.index("another part")
    assert lines[-1] == "1 of 2 targets met"


def test_what_never_came_is_a_dash_and_misses_its_target():
    nothing = several("part", "first sound", "s", [], Aim(3))
    assert nothing.verdict == "missed"
    assert any(" - s" in line and "missed" in line for line in table_lines([nothing]))


def test_spread_of_few_figures_is_all_of_it_and_of_many_without_the_extremes():
    few, many = several("", "", "", [1, 2, 9]), several("", "", "", range(101))
    assert (few.low, few.value, few.high) == (1, 2, 9)
    assert (many.low, many.value, many.high, many.n) == (5, 50, 95, 101)


def test_figures_come_back_from_json_as_they_were():
    readings = [several("a", "b", "s", [1.0, 2.0], Aim(1), "c"), single("a", "d", "", 1), failed("e", "no luck")]
    text = json.dumps(as_json(readings), allow_nan=False)
    again = from_json(json.loads(text))
    assert again[:2] == readings[:2]
    assert math.isnan(again[2].value)
    assert again[2].note == "no luck"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_growth_exponent_of_made_up_costs(exponent):
    sizes = np.array([30, 60, 120, 300])
    assert growth_exponent(sizes, 0.07 * sizes**exponent) == pytest.approx(exponent, abs=1e-9)


def test_growth_exponent_survives_noughts():
    assert growth_exponent([1, 2, 4], [0, 0, 0]) == pytest.approx(0, abs=1e-9)


def test_memory_is_read_at_a_speed_that_memory_has():
    assert cpu_name()
    assert n_cores() >= 1
    for n_bytes in (1 << 20, 64 << 20):
        assert 0.2e9 < Reader(n_bytes).bytes_per_s() < 2e12


def test_memory_of_a_process_counts_its_children():
    code = "import subprocess, sys; x = bytearray(60 << 20); print('there', flush=True); sys.stdin.read()"
    whole = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {code!r}]); p.wait()"
    parent = subprocess.Popen([sys.executable, "-c", whole], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"there\n"
        assert memory_mb(parent.pid) > 65
    finally:
        parent.stdin.close()
        parent.wait(10)
    assert memory_mb(parent.pid) == 0


# The player's clock


def test_sound_begins_when_the_head_start_is_there():
    playback = Playback()
    playback.arrive(1.0, sound(HEAD_START_S / 2))
    assert playback.first_sound_s is None
    playback.arrive(1.5, sound(HEAD_START_S / 2))
    assert playback.first_sound_s == 1.5


def test_sound_in_time_is_no_underrun_and_sound_too_late_is_one():
    in_time, too_late = Playback(), Playback()
    for playback, second_s in ((in_time, 1.9), (too_late, 2.4)):
        playback.arrive(1.0, sound(1.0))
        playback.arrive(second_s, sound(1.0))
        playback.end(5.0)  # the end may come as late as it likes
    assert (in_time.n_underruns, in_time.silent_s) == (0, 0)
    assert too_late.n_underruns == 1
    assert too_late.silent_s == pytest.approx(0.4)


def test_a_player_that_ran_dry_gathers_a_head_start_again():
    playback = Playback()
    playback.arrive(0.0, sound(0.5))
    playback.arrive(1.0, sound(0.1))
    playback.arrive(2.0, sound(0.3))
    assert playback.n_underruns == 1
    assert playback.silent_s == pytest.approx(1.5)


# A listener on the real page


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory) -> Path:
    """A folder with the tiny model in place of the one that we ship, and its seed clips."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(tiny_model, folder / f"{DEFAULT_MODEL}.safetensors")
    (folder / "clips").symlink_to(ROOT / "models" / "clips")
    return folder


@pytest.fixture(scope="module")
def server(models) -> Iterator[Server]:
    with Server(models) as running:
        yield running


def test_a_listener_without_a_browser_hears_the_song_and_sees_it_finished(server):
    heard = soak.hear_one(server.address)
    assert heard.errors == []
    assert 0 < heard.page_s < heard.first_sound_s
    assert heard.first_sound_s < heard.shown_s + 1
    assert heard.received_s == pytest.approx(soak.LAST_SONG_S, abs=0.01)


def test_the_page_hears_of_every_wish(server):
    async def visit() -> str:
        async with Listener(server.address) as listener:
            await listener.open()
            listener.wish(Wishes(clip=2, seed_number=4711, length_s=SONG_S, temperature=0.7, randomness=0.6))
            await listener.hear_a_song()
            return listener.view.download()

    with urllib.request.urlopen(server.address + asyncio.run(visit())) as song:
        made = read_stamp(song.read())
    assert (made.clip, made.seed_number, made.length_s) == (built_in_clips()[2].name, 4711, SONG_S)
    assert (made.temperature, made.randomness) == (0.7, 0.6)


def test_a_crowd_is_heard_at_once_while_the_page_answers_others(server):
    with MemoryWatch(server) as memory:
        heard = evening(server.address, 4, SONG_S)
    assert [one.errors for one in heard.heard] == [[]] * 4
    assert all(one.received_s == pytest.approx(SONG_S, abs=0.01) for one in heard.heard)
    assert heard.answers_s
    assert max(heard.answers_s) < 10
    assert memory.peak_mb >= max(memory.before_mb, memory.after_mb) > 50
    lines = {line.name: line for line in crowd_readings(4, SONG_S, heard, memory)}
    assert lines["first sound after the click"].n == 4
    assert lines["without any sound"].verdict == "met"


def test_a_listener_who_presses_again_hears_the_new_song(server):
    async def visit() -> Heard:
        async with Listener(server.address) as listener:
            await listener.open()
            listener.wish(Wishes(length_s=60.0))
            first = asyncio.create_task(listener.hear_a_song())
            await asyncio.sleep(0.05)
            first.cancel()
            listener.wish(Wishes(length_s=SONG_S))
            return await listener.hear_a_song()

    heard = asyncio.run(visit())
    assert heard.errors == []
    assert heard.received_s == pytest.approx(SONG_S, abs=0.01)


def test_a_stream_that_is_not_there_is_told_in_one_sentence(server):
    async def read() -> None:
        async for _ in read_body(server.address, "/live/no-such-song"):
            pass

    with pytest.raises(KpopError, match="404"):
        asyncio.run(read())


def test_a_soak_loses_nobody_and_nothing(server):
    readings = soak.soak_on(server, SHORT_SOAK_MINUTES, lambda words: None, n_listeners=3)
    found = {reading.name: reading for reading in readings}
    for name in ("errors", "failures in the server's log", "songs left over when all have gone"):
        assert found[name].value == 0, found[name].note
    assert found["songs asked for"].value >= 3
    assert found["server's memory at most"].value > 50


# What goes wrong must be seen


def crowd_of(*heard: Heard) -> dict[str, Reading]:
    memory = SimpleNamespace(before_mb=100, peak_mb=800, after_mb=100)
    readings = crowd_readings(len(heard), 30, Evening(list(heard), [0.1]), memory)
    return {reading.name: reading for reading in readings}


def test_a_silent_listener_an_underrun_and_a_refusal_are_counted():
    good = Heard(0.1, 0.2, 3.0, received_s=30)
    found = crowd_of(good, Heard(refused=True), Heard(errors=["cut off"]), Heard(0.1, 0.3, 3.0, 2, 1.5))
    assert found["refused, because it was full"].value == 1
    assert found["errors"].verdict == "missed"
    assert "cut off" in found["errors"].note
    assert found["underruns"].value == 2
    assert found["without any sound"].value == 1
    assert crowd_of(good)["server's memory at most"].verdict == "missed"


def test_memory_that_grows_all_the_time_is_seen():
    times_s = np.arange(0, 1800, 10.0)
    flat, growing = (
        soak._of_memory("", list(zip(times_s, mb, strict=True)), 1800)
        for mb in (np.full(len(times_s), 600.0), 500 + times_s / 6)
    )
    assert [reading.verdict for reading in flat[1:]] == ["met", "met"]
    assert [reading.verdict for reading in growing[1:]] == ["missed", "missed"]
    assert growing[2].value == pytest.approx(10)


def test_a_song_that_keeps_its_place_when_all_have_gone_is_seen():
    empty = {"places": 4, "free": 4, "running": 0, "waiting": 0, "finishing": 0}
    assert soak.left_over_reading("", empty, Heard()).verdict == "met"
    for wrong in ({"free": 3, "running": 1}, {"free": 3}, {"waiting": 2}):
        assert soak.left_over_reading("", empty | wrong, Heard()).verdict == "missed"
    assert soak.left_over_reading("", None, Heard()).verdict == "missed"
    assert soak.left_over_reading("", None, Heard(first_sound_s=0.4)).verdict == "met"


def test_failures_in_the_log_are_told_by_their_exceptions():
    log = "all is well\nTraceback (most recent call last):\n  File x, line 1\n    1 / 0\nZeroDivisionError: by zero\n"
    assert soak.failures_in(log) == ["ZeroDivisionError: by zero"]
    assert soak.failures_in("all is well\n") == []


def test_one_part_that_fails_leaves_the_others_their_figures(monkeypatch):
    def broken(*_: object) -> list[Reading]:
        raise RuntimeError("no such luck")

    monkeypatch.setitem(plan.PARTS, "start", broken)
    monkeypatch.setitem(plan.PARTS, "design", lambda *_: [single("design", "seconds", "s", 1)])
    readings = plan.measure(plan.Plan(), ["start", "design"], lambda words: None)
    assert [reading.name for reading in readings] == ["could not be measured", "seconds"]
    assert readings[0].note == "no such luck"


# The parts, on little


@pytest.fixture(scope="module")
def instrument(tiny_model) -> Instrument:
    return Instrument.load(tiny_model)


def test_stepping_is_timed_for_one_song_and_for_many(instrument):
    one_s, many_s, _, read_s, _ = steps.taking_turns(instrument, 5)
    assert len(one_s) == len(many_s) == len(read_s) == 5
    assert many_s.min() > one_s.min() > 0  # the fastest: what else the machine does only slows
    matrices = [instrument.lstm.lstm.weight_hh_l0, instrument.lstm.heads.from_hidden.weight]
    assert steps.weight_bytes(instrument.lstm) > sum(matrix.numel() for matrix in matrices)


def test_a_song_tells_its_stages_and_its_memory(tiny_model):
    made = songs.make(tiny_model, SONG_S, 2)
    assert len(made.totals_s) == 2
    assert all(0 < sum(stages.values()) <= total_s for stages, total_s in zip(made.stages, made.totals_s, strict=True))
    assert -5 < made.streaming_mb < 200
    names = [line.name.strip() for line in songs._of_one(made)]
    assert {"the whole song", "seed", "dream", "working memory while it streams"} <= set(names)


def test_an_endless_song_tells_its_speed_and_memory_minute_by_minute(tiny_model):
    seconds, memory_mb = endless.make(tiny_model, 2)
    assert len(seconds) == len(memory_mb) == 2
    assert 60 / seconds[1] > 1, "slower than it plays"
    assert 50 < memory_mb[0] < 3000


def test_inversions_take_turns_on_the_same_magnitudes_and_come_near_them():
    waveform = inversion.music(2.0)
    seconds, convergence_db = inversion.taking_turns(inversion.true_magnitude(waveform), len(waveform), 1)
    assert seconds.keys() == convergence_db.keys() == inversion.METHODS.keys()
    assert all(len(rounds) == 1 for rounds in seconds.values())
    assert all(value < -15 for value in convergence_db.values())  # librosa's would not be, were its scale another


def test_the_first_design_is_timed_as_its_own_code_steps_it():
    whole, speed = design.measure(4.0, 2, lambda words: None)
    assert whole.n == 2
    assert speed.value == pytest.approx(4 / whole.value, rel=0.5)


# The command


def test_the_command_knows_every_part():
    assert tuple(plan.PARTS) == bench.PART_NAMES


def test_the_command_prints_a_table_and_writes_json_though_targets_are_missed(tmp_path, capsys, monkeypatch):
    hopeless = [several("design", "seconds", "s", [3.0, 4.0], Aim(1))]
    monkeypatch.setitem(plan.PARTS, "design", lambda *_: hopeless)
    assert main(["bench", "--quick", "--only", "design", "--json", str(tmp_path / "bench.json")]) == 0
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "0 of 1 targets met" in printed
    written = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert from_json(written["readings"]) == hopeless


@pytest.mark.parametrize("minutes", ["0", "-1"])
def test_a_soak_of_no_time_is_one_sentence(minutes, capsys):
    assert main(["bench", "--soak", minutes]) == 2
    assert "more than 0 minutes" in capsys.readouterr().err
