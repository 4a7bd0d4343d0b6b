"""The page without a browser, with the shipped model: what it offers, shows and says."""

import html
import io
import re
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from pages import TIMEOUT_S, button, player, press, settle, slider, visit, words
from safetensors.numpy import save_file

from kpop import model_info
from kpop.audio.io import wav_bytes
from kpop.constants import SAMPLE_RATE_HZ
from kpop.engine import PcmBuffer
from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.titles import song_title
from kpop.model_info import DEFAULT_MODEL, index_path
from kpop.settings import Settings
from kpop.similarity import index
from kpop.similarity.index import SimilarityIndex
from kpop.ui.spectrogram import ENDLESS_COLUMNS, N_BANDS, GrowingSpectrogram

SHORT = Settings(length_s=4)
NOTHING = {"tracks": [], "play": None, "status": "", "error": "", "notice": ""}
SAME_S = 9.0  # the beginning that does not depend on the length
BROKEN = KpopError("The strings broke: put on new ones.")


def sine(length_s: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)


def test_first_visit_invites_offers_every_choice_and_plays_nothing(jobs):
    page = settle(visit())
    assert "Kevin needs new songs" in words(page)
    values = {slider.label: slider.value for slider in (*page.slider, *page.select_slider)}
    assert values == {"Seed randomness": 0.3, "Temperature": 1.0, "Length": 4.0}
    for end in ("close to the clip", "ignore the clip", "0:04", "5:00", "safe", "wild"):
        assert end in words(page)
    assert (page.radio[0].label, page.number_input[0].label) == ("Seed clip", "Seed number")
    assert {key: player(page)[key] for key in ("tracks", "play", "status", "error", "notice")} == NOTHING
    assert not page.get("plotly_chart")
    assert jobs == []


def test_a_reload_brings_the_song_back_by_its_settings_without_starting_it(jobs):
    page = press(visit(), "Generate")
    query = {"temperature": "1.9", "kept": page.query_params["kept"]}  # the slider was moved since
    again = settle(visit(query))
    assert (jobs[1].settings, player(again)["play"]) == (jobs[0].settings, None)
    assert f"“{song_title(SHORT)}” is here again" in player(again)["notice"]
    assert player(press(again, "Generate"))["notice"] == ""
    sent = settle(visit({"song": "1", "seed_number": "8"}))
    assert jobs[3].settings == replace(SHORT, seed_number=8)
    assert "Somebody sent you" in player(sent)["notice"]
    assert "kept" in sent.query_params
    press(sent, "Four takes")
    assert "kept" not in sent.query_params
    for nonsense in ("", "~~~~~", "1~2~3~4~5~6", "0.3~1~30~7~gone~twice4life", "0.3~9~30~7~first-snow~twice4life"):
        assert settle(visit({"kept": nonsense})).session_state.session.songs == ()


def test_a_longer_song_begins_as_the_one_before_and_plays_on(jobs):
    page = press(visit({"length_s": "20", "seed_number": "5"}), "Generate")
    press(page, "30 s longer")
    assert jobs[1].settings == replace(jobs[0].settings, length_s=50)
    assert player(page)["continues"]
    assert page.select_slider[0].value == 50
    one, two = (job.result().waveform for job in jobs)
    n_same = round(SAME_S * SAMPLE_RATE_HZ)
    assert np.array_equal(one[:n_same], two[:n_same])
    assert not player(press(page, "Generate"))["continues"]
    assert button(press(visit({"length_s": "300"}), "Generate"), "30 s longer").disabled


def test_a_song_starts_by_itself_and_keeps_its_url_when_its_picture_is_there(jobs):
    page = settle(visit())
    button(page, "Generate").click().run()
    assert "From First Snow, 126 BPM · 0:04" in words(page)
    (track,) = player(page)["tracks"]
    assert player(page)["play"] == track["url"]
    assert (track["title"], track["length_s"]) == (song_title(SHORT), 4)
    settle(page)
    (finished,) = player(page)["tracks"]
    assert all(finished[key] == track[key] for key in ("url", "title", "beat", "plot"))
    assert len(page.get("plotly_chart")) == 1
    assert page.get("download_button")[0].label == "Download WAV"
    assert "Kevin needs new songs" not in words(page)
    with soundfile.SoundFile(io.BytesIO(page.session_state.session.songs[0].file.read())) as sound:
        assert (sound.frames, sound.title) == (4 * SAMPLE_RATE_HZ, song_title(SHORT))


def test_the_song_is_what_the_listener_chose_and_generate_never_makes_the_one_that_is_there(jobs):
    page = visit()
    slider(page, "Seed randomness").set_value(0.8)
    slider(page, "Temperature").set_value(1.5)
    page.select_slider[0].set_value(5.0)
    page.number_input[0].set_value(99)
    page.radio[0].set_value("neon-rain")
    press(page, "Generate")
    chosen = Settings(0.8, 1.5, 5.0, 99, "neon-rain", "twice4life")
    assert (jobs[0].settings, jobs[0].clip.name) == (chosen, "neon-rain")
    press(page, "Generate")
    assert jobs[1].settings == replace(chosen, seed_number=page.number_input[0].value) != chosen
    page.number_input[0].set_value(99)
    press(page, "Generate")
    assert jobs[2].settings == chosen  # the one before, since its number is asked for
    button(page, "Roll").click().run()
    rolled = page.number_input[0].value
    press(page, "Generate")
    assert jobs[3].settings == replace(chosen, seed_number=rolled) != chosen  # 1 in 10,000 to the contrary


def test_a_failure_is_one_sentence_at_the_player_and_the_old_song_stays(jobs, monkeypatch):
    page = press(visit(), "Generate")
    former = player(page)["tracks"]
    with monkeypatch.context() as broken:
        broken.setattr("kpop.generation.session.GenerationSession", Mock(side_effect=BROKEN))
        press(page, "Generate")
    assert player(page)["error"] == str(BROKEN)
    assert player(page)["tracks"] == former
    assert player(press(page, "Generate"))["error"] == ""


def test_an_endless_song_has_no_length_and_ends_with_the_next_request(jobs):
    page = visit()
    page.toggle[0].set_value(True).run()
    assert page.select_slider[0].disabled
    button(page, "Generate").click().run()
    assert (player(page)["tracks"][0]["length_s"], jobs[0].endless) == (None, True)
    page.toggle[0].set_value(False)
    press(page, "Generate")
    assert jobs[0].cancelled
    assert player(page)["tracks"][0]["length_s"] == 4


def test_four_variations_are_shown_together_and_one_of_them_kept(jobs):
    page = button(visit({"seed_number": "4294967294"}), "Four takes").click().run()
    assert player(page)["play"] == player(page)["tracks"][0]["url"]
    assert button(page, "Keep A").disabled
    settle(page)
    assert len(page.get("plotly_chart")) == len(player(page)["tracks"]) == len(page.get("download_button")) == 4
    assert [job.settings.seed_number for job in jobs] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert {replace(job.settings, seed_number=7) for job in jobs} == {SHORT}
    assert len(page.session_state.session.history) == 4
    assert f"Take C: {song_title(jobs[2].settings)}" in html.unescape(words(page))
    page.button(key="keep-2").click().run()
    assert len(page.get("plotly_chart")) == len(player(page)["tracks"]) == 1
    assert page.number_input[0].value == 0
    assert len(jobs) == 4


def test_one_slider_is_changed_and_both_songs_are_there(jobs):
    page = press(visit({"temperature": "0.8", "randomness": "0.8"}), "Generate")
    other = slider(page, "Temperature of the other song")
    assert other.value == pytest.approx(1.3)
    other.set_value(0.8).run()
    assert button(page, "Make the other one").disabled
    page.radio(key="compare-what").set_value("Seed randomness").run()
    assert slider(page, "Seed randomness of the other song").value == pytest.approx(0.3)
    press(page, "Make the other one")
    assert jobs[1].settings == replace(jobs[0].settings, randomness=jobs[1].settings.randomness)
    assert "seed randomness 0.80 → 0.30" in words(page)
    assert len(player(page)["tracks"]) == 2
    assert len(player(press(page, "Generate"))["tracks"]) == 1


def test_an_own_file_is_what_all_songs_start_from_and_its_name_brings_no_markup(jobs):
    page = visit()
    name = "<img src=x onerror=alert(1)>.wav"
    page.file_uploader[0].upload(name, wav_bytes(sine(3)), "audio/wav").run()
    for label in ("Generate", "Make the other one", "Four takes"):
        press(page, label)
    assert {(job.settings.clip, job.clip.name) for job in jobs} == {(name, name)}
    assert (len(jobs), page.session_state.session.songs[0].own_clip) == (6, jobs[0].clip)
    assert "<img src=x" not in words(page)
    assert "From &lt;img" in words(page)
    page.radio[0].set_value("neon-rain")
    press(page, "Generate")
    assert jobs[-1].clip.name == "neon-rain"
    assert "From Neon Rain, 123 BPM" in words(page)


def test_missing_or_damaged_weights_are_one_sentence_and_are_found_once_they_are_there(jobs, monkeypatch, tmp_path):
    weights = model_info.checkpoint_path("twice4life")
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    page = settle(visit())
    for _ in range(3):  # a rerun neither hides the sentence nor tries again by itself
        assert "twice4life" in player(page.run())["error"]
    path = tmp_path / weights.name
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    page = press(visit(), "Generate")
    assert "twice4life" in player(page)["error"]
    path.unlink()
    path.symlink_to(weights)
    assert player(press(page, "Generate"))["error"] == ""
    assert len(player(page)["tracks"]) == 1


def test_without_seed_clips_the_player_says_so_in_one_sentence(jobs, monkeypatch):
    monkeypatch.setattr(clips, "_catalogue", dict)
    page = visit()
    assert not page.radio
    assert "seed clip" in player(press(page, "Generate"))["error"]


def test_one_model_needs_no_choice_and_several_are_offered_by_title(monkeypatch, tmp_path):
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    save_file({}, tmp_path / "twice4life.safetensors", {"info": '{"title": "The group", "about": "Sings of it."}'})
    (tmp_path / "twice4life.index.safetensors").touch()
    assert not visit().selectbox
    save_file({}, tmp_path / "mine.safetensors", {"info": '{"n_songs": 12, "data": "demos"}'})
    page = visit()
    assert page.selectbox[0].options == ["The group", "mine"]
    assert "Sings of it." in [caption.value for caption in page.caption]
    page.selectbox[0].set_value("mine").run()
    assert "Has learnt from 12 songs: demos." in [caption.value for caption in page.caption]


def test_a_song_tells_its_closest_moment_in_the_training_music_and_both_can_be_heard(monkeypatch):
    data = SimilarityIndex.load(index_path(DEFAULT_MODEL)).data  # an earlier corpus, which cannot be rendered again
    monkeypatch.setattr(index, "CORPUS_DATA", data)
    page = press(visit({"length_s": "12"}), "Generate")
    assert page.session_state.session.similarity.wait(TIMEOUT_S)
    page.session_state["novelty"] = True
    page.run()
    assert re.search(r"Training song, \d:\d\d: song \d+", " ".join(caption.value for caption in page.caption))
    assert len(page.get("audio")) == 2


def test_what_is_below_the_song_stays_closed_until_it_is_wanted(jobs):
    page = settle(visit())
    tabs = page.get("button_group")[-1]
    assert tabs.value is None
    for name in ("Earlier songs", "Hear it learn", "How it works"):
        tabs = tabs.set_value(name).run().get("button_group")[-1]
    assert "Press Generate, and the figures of your own song will stand here" in words(page)


@pytest.mark.parametrize("length_s", [4, 60])
def test_the_growing_picture_is_the_same_however_the_song_arrives(length_s):
    pcm = np.round(32767 * sine(length_s)).astype("<i2").tobytes()
    at_once, bit_by_bit = (GrowingSpectrogram(PcmBuffer(length_s * SAMPLE_RATE_HZ)) for _ in range(2))
    at_once.pcm.append(pcm, last=True)
    at_once.update()
    for start in range(0, len(pcm), 30_000):
        bit_by_bit.pcm.append(pcm[start : start + 30_000], last=start + 30_000 >= len(pcm))
        bit_by_bit.update()
    assert np.array_equal(at_once.columns, bit_by_bit.columns)
    assert at_once.span_s == pytest.approx((0, length_s), abs=0.1)


def test_the_picture_of_an_endless_song_shows_its_last_half_minute():
    growing = GrowingSpectrogram(PcmBuffer(None))
    for _ in range(5):
        growing.pcm.append(bytes(32_000 * 9))
        growing.pcm.mark_read(growing.pcm.n_bytes)
        growing.update()
    assert growing.columns.shape == (ENDLESS_COLUMNS, N_BANDS)
    assert growing.span_s == pytest.approx((15, 45), abs=0.1)
