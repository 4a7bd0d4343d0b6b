"""Page and booth with the shipped model in a real Chromium: they appear, play at once, and call no other server."""

import json
import re
import signal
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import AUDIO, BUSY_FACTOR, LAPTOP, PHONE, Visit, serve, sticks_out

from kpop import bench
from kpop.ui.sharing import local_address

USABLE_S = 4.0  # from the start of the server to a Generate button that can be pressed
COLD_SOUND_S = 10.0  # from a press at that moment to the first sound
FIRST_SOUND_S = 0.6  # the same with the model loaded
IN_STEP_S = 0.05
TOLD_MS = 200  # from a press to the first word about it
ENDLESS = "Endless – the machine just goes on"
NOISES = """() => { window.noises = []; for (const kind of ['pause', 'waiting', 'emptied', 'seeking'])
  document.addEventListener(kind, ({ target }) => target.matches('.player-audio') && noises.push(kind), true); }"""

# Where a track's playhead stands, in seconds of its plotly axis, and how far the audio is at the same moment.
PLAYHEAD = f"""index => {{
  const box = document.querySelector(`.st-key-track-${{index}}`), head = box.querySelector('.track-head');
  const plot = [...box.querySelectorAll('.js-plotly-plot')].find(plot => plot.offsetHeight);
  const area = plot.querySelector('.nsewdrag').getBoundingClientRect(), at = head.getBoundingClientRect();
  return [plot._fullLayout.xaxis.p2c(at.left + at.width / 2 - area.left), {AUDIO}.currentTime];
}}"""
LAGS = f"""async () => {{
  const look = {PLAYHEAD}, lags = [];
  for (const until = performance.now() + 1500; performance.now() < until;) {{
    await new Promise(requestAnimationFrame);
    const [shown, heard] = look(0);
    lags.push(Math.abs(shown - heard));
  }}
  return lags.sort((a, b) => a - b);
}}"""
SWITCH = """async key => {
  const audios = [...document.querySelectorAll('.player-audio')], from = audios.find(audio => !audio.hidden);
  document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  let to = from, offset = null;
  for (let i = 0; i < 2000 && (to === from || to.muted || !from.paused); i++) {
    await new Promise(resolve => setTimeout(resolve, 4));
    to = audios.find(audio => !audio.hidden);
    if (to !== from && !to.muted && !from.paused) offset ??= from.currentTime - to.currentTime;
  }
  return [offset, audios.indexOf(to), audios.filter(audio => !audio.paused).length];
}"""

pytestmark = pytest.mark.browser


def ready(page: Visit) -> Visit:
    """A finished song that plays."""
    page.rest().generate()
    page.wait_for_audio("currentTime > 0.2")
    return page


def click_picture(page: Visit, share: float) -> None:
    """At that share of its width."""
    area = page.tab.locator(".st-key-track-0 .nsewdrag").first.bounding_box()
    page.tab.mouse.click(area["x"] + share * area["width"], area["y"] + area["height"] / 2)


def engine_state(page: Visit) -> dict[str, int]:
    with urllib.request.urlopen(page.address + "/songs/state", timeout=5) as answer:
        return json.load(answer)


def test_a_page_without_any_cache_is_usable_soon_and_a_press_at_that_moment_is_heard(
    chromium, tmp_path, record_property
):
    with bench.page(chromium, NUMBA_CACHE_DIR=str(tmp_path)) as (tab, _, usable_s):
        sound_s = bench.first_sound_s(tab)
    record_property("usable_s", usable_s)
    record_property("cold_sound_s", sound_s)
    assert usable_s < USABLE_S * BUSY_FACTOR
    assert sound_s < COLD_SOUND_S * BUSY_FACTOR


def test_a_song_sounds_at_once_also_when_the_page_has_only_just_opened(warm, visit, record_property):
    warm_s, fresh_s = (bench.first_sound_s(page.tab) for page in (warm, visit("?seed_number=99")))
    record_property("first_sound_s", warm_s)
    assert warm_s < FIRST_SOUND_S * BUSY_FACTOR
    assert fresh_s < 2 * FIRST_SOUND_S * BUSY_FACTOR


def test_a_song_is_shown_and_its_download_is_what_was_streamed(visit):
    page = ready(visit("?length_s=8"))
    assert page.audio("duration") == pytest.approx(8, abs=0.01)
    page.tab.locator(".js-plotly-plot .nsewdrag").first.hover()
    reading = page.tab.locator(".hoverlayer .hovertext").text_content()
    assert re.search(r"\d s\s*[\d.]+ Hz\s*[-−]?\d+ dB", reading), reading
    with page.tab.expect_download() as download:
        page.tab.get_by_role("button", name="Download WAV").click()
    assert re.fullmatch(r"twice4life-[a-z0-9-]+\.wav", download.value.suggested_filename)
    with urllib.request.urlopen(page.audio("src")) as streamed:
        assert streamed.read() == Path(download.value.path()).read_bytes()


def test_a_rerun_neither_interrupts_the_music_nor_forgets_the_controls(visit):
    page = ready(visit("?length_s=20"))
    page.tab.evaluate(NOISES)
    before_s, before_ms = page.tab.evaluate(f"[{AUDIO}.currentTime, performance.now()]")
    page.slide("Temperature", "ArrowRight", "ArrowRight")
    page.roll_dice()
    page.wait_for_js("location.search.includes('temperature=1.1')")
    page.rest()
    after_s, after_ms = page.tab.evaluate(f"[{AUDIO}.currentTime, performance.now()]")
    assert after_s - before_s == pytest.approx((after_ms - before_ms) / 1000, abs=0.1)
    assert page.tab.evaluate("noises") == []
    assert page.tab.locator(".track-overlay").count() == 1


def test_the_playhead_keeps_in_step_and_a_click_in_the_picture_plays_from_there(visit, record_property):
    page = ready(visit("?length_s=12"))
    lags_s = page.tab.evaluate(LAGS)
    record_property("playhead_lag_s", lags_s[-1])
    assert lags_s[len(lags_s) // 2] < IN_STEP_S / 2
    assert lags_s[-1] < IN_STEP_S * BUSY_FACTOR
    page.audio("pause()")
    click_picture(page, 0.5)
    page.wait_for_audio("paused === false")
    assert page.audio("currentTime") == pytest.approx(6, abs=0.3 * BUSY_FACTOR)
    head = page.tab.get_by_role("slider", name=re.compile("^Position in"))
    for key in ("Home", "ArrowRight"):
        head.press(key)
    page.wait_for_audio("currentTime >= 5")
    assert re.fullmatch(r"0:0\d of 0:12", head.get_attribute("aria-valuetext"))


def test_the_seed_ends_where_its_border_is_drawn_and_the_grid_lies_on_the_bars(visit):
    page = ready(visit("?length_s=30"))
    plot = "[...document.querySelectorAll('.js-plotly-plot')].find(plot => plot.offsetHeight)"
    line_s = page.tab.evaluate(f"{plot}.layout.shapes.find(shape => shape.type === 'line').x0")
    bpm = int(re.search(r"From First Snow, (\d+) BPM", page.tab.locator(".facts").first.text_content())[1])
    assert 16 * 60 / bpm == pytest.approx(line_s, rel=0.01)
    page.tab.get_by_text("More choices").click()
    page.tab.get_by_text("Show the beat grid").click()
    page.wait_for_js("!document.querySelector('.track-grid').hidden")
    bar = "parseFloat(document.querySelector('.track-grid').style.getPropertyValue('--bar'))"
    page.wait_for_js(f"{bar} > 0")
    assert page.tab.evaluate(f"30 * {bar} / {plot}._fullLayout._size.w") == pytest.approx(line_s / 4, abs=0.01)


def test_the_picture_grows_while_the_song_is_made_and_one_can_go_back_in_it(visit):
    page = visit("?length_s=300").rest()
    page.generate_button.click()
    width = "parseFloat(document.querySelector('.track-growth:not([hidden])')?.style.width)"
    page.wait_for_js(f"{width} > 0")
    early = page.tab.evaluate(width)
    assert "Playing while it’s generated" in page.tab.locator(".player-status").first.text_content()
    page.wait_for_js(f"{width} > {early} || document.querySelector('.player-status').dataset.busy === 'false'")
    page.wait_for_audio("currentTime > 2")
    click_picture(page, 0.5 / 300)
    page.wait_for_audio("currentTime < 2")
    page.wait_for_audio("currentTime > 2.5")


@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_press_is_answered_at_once_in_sight_and_nothing_jumps_until_the_song_is_finished(visit, device):
    page = visit("?length_s=60", **device).rest()
    page.tab.evaluate("""() => { window.tops = [];
      const names = ['#song', '.player-dock', '.st-key-track-0', '.st-key-layout-actions', '.st-key-more'];
      (function look() { requestAnimationFrame(look);
        const parts = names.map(name => document.querySelector(name));
        if (parts.every(part => part)) tops.push(parts.map(part => Math.round(
          part.getBoundingClientRect().top + (part.matches('.player-dock') && innerWidth < 641 ? 0 :
            document.querySelector('.stMain').scrollTop))));
      })();
      const line = document.querySelector('.player-status'), start = () => { pressedMs = performance.now(); };
      document.querySelector('.st-key-go button').addEventListener('click', start, true);
      new MutationObserver(() => { window.toldMs ??= performance.now() - pressedMs; window.told ??= line.textContent; })
        .observe(line, { childList: true }); }""")
    page.generate()
    told, told_ms = page.tab.evaluate("[told, toldMs]")
    assert told == "Starting…"
    assert told_ms < TOLD_MS
    for tops in zip(*page.tab.evaluate("tops"), strict=True):
        assert max(tops) - min(tops) <= 2
    box = page.tab.locator("#song").bounding_box()
    assert 0 <= box["y"] < device["viewport"]["height"] / 3


def test_variations_switch_at_the_same_moment_and_one_is_kept(visit):
    page = visit("?length_s=20").rest()
    page.tab.get_by_role("button", name="Four takes").click()
    page.wait_for_audio("currentTime > 0.2")  # by itself
    page.tab.locator(".st-key-track-3 .track-letter").wait_for()
    page.rest().wait_for_audio("currentTime > 1")
    boxes = [page.tab.locator(f".st-key-track-{i}").bounding_box() for i in range(4)]
    assert boxes[0]["y"] == boxes[1]["y"] < boxes[2]["y"]
    assert boxes[0]["x"] == boxes[2]["x"] < boxes[1]["x"]
    for key, index in (("3", 2), ("1", 0), ("4", 3)):
        offset_s, active, n_playing = page.tab.evaluate(SWITCH, key)
        assert (active, n_playing) == (index, 1)
        assert abs(offset_s) < IN_STEP_S
    title = page.tab.locator(".st-key-track-3 .take").text_content()
    at_s = page.audio("currentTime")
    page.tab.get_by_role("button", name="Keep B").click()  # not the one that sounds: it takes over
    page.tab.locator(".st-key-track-1").wait_for(state="detached")
    assert title != f"Take B: {page.tab.locator('#song').text_content()}"
    page.wait_for_audio(f"currentTime > {at_s} + 0.2 && !{AUDIO}.muted")
    page.wait_for_js("[...document.querySelectorAll('.player-audio')].filter(each => !each.paused).length === 1")
    assert not page.audio("paused")


def test_a_longer_song_plays_on_where_the_shorter_one_is(visit):
    page = ready(visit("?length_s=20"))
    page.wait_for_audio("currentTime > 3")
    page.tab.get_by_role("button", name="30 s longer").click()
    page.wait_for_audio("duration === 50")
    at_s = page.audio("currentTime")
    assert 3 < at_s < 3 + 5 * BUSY_FACTOR
    page.wait_for_audio(f"currentTime > {at_s} + 0.5 && !{AUDIO}.muted")


def test_a_song_can_be_paused_while_it_is_made(visit):
    page = visit("?length_s=300").rest()
    page.generate_button.click()
    page.wait_for_audio("currentTime > 0.3")
    page.audio("pause()")
    page.rest()
    assert page.audio("paused")
    page.tab.locator("body").press("Space")
    page.wait_for_audio("paused === false")


def test_a_cover_is_heard_before_it_is_chosen_and_ends_with_the_song(visit):
    page = visit("?length_s=8").rest()
    page.tab.get_by_role("button", name="Hear Slow Honey").click()
    cover = "document.querySelector('audio[aria-label=\"Seed clip\"]')"
    page.wait_for_js(f"{cover}.currentTime > 0.2 && !{cover}.paused")
    assert page.tab.locator(".st-key-clip [data-testid=stRadioOption]:has(:checked)").inner_text() == "First Snow"
    page.generate_button.click()
    page.wait_for_audio("currentTime > 0.2")
    assert page.tab.evaluate(f"{cover}.paused")


def test_back_leaves_the_page_and_a_reload_brings_the_song_back(visit):
    page = visit("?length_s=8").rest()
    n_entries = page.tab.evaluate("history.length")
    page.slide("Temperature", "ArrowRight", "ArrowRight")
    page.wait_for_js("location.search.includes('temperature=1.1')")
    page.generate()
    assert page.tab.evaluate("history.length") == n_entries
    title, song = page.tab.locator("#song").text_content(), page.tab.request.get(page.audio("src")).body()
    page.tab.reload()
    page.tab.get_by_text("is here again, note for note").wait_for()
    page.rest()
    assert page.tab.locator("#song").text_content() == title
    assert page.tab.request.get(page.audio("src")).body() == song


def test_fast_presses_end_with_the_last_ones_song_and_no_message(visit):
    page = visit("?length_s=8").rest()
    for name in ("Generate", "Surprise me", "Four takes", "Generate", "Generate", "Surprise me", "Generate"):
        page.tab.get_by_role("button", name=name).click(delay=10)
    page.rest().wait_for_audio("currentTime > 0.2")
    assert page.tab.locator("[data-testid=stToast], [data-testid=stException], .player-failed").count() == 0


def test_after_a_restart_of_the_server_the_page_says_so_and_has_its_song_again(chromium):
    with ExitStack() as servers:
        server = servers.enter_context(ExitStack())
        address = server.enter_context(serve())
        page = Visit(chromium, address, **LAPTOP).open("?length_s=8").rest()
        page.generate()
        title = page.tab.locator("#song").text_content()
        server.close()
        servers.enter_context(serve(port=int(address.rpartition(":")[2])))
        page.tab.get_by_text("The connection was lost, and is there again").wait_for()
        page.rest()
        assert page.tab.locator("#song").text_content() == title
        page.context.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_an_accessibility_audit_finds_nothing_serious(visit, device, scheme):
    page = ready(visit("?length_s=8", color_scheme=scheme, reduced_motion="reduce", **device))
    for text in ("Start from a song of your own", "More choices", "How it works"):
        page.tab.get_by_text(text, exact=True).click()
    page.rest().tab.wait_for_timeout(500)
    for violation in Axe().run(page.tab).response["violations"]:
        places = [node["target"] for node in violation["nodes"]]
        assert violation["impact"] not in ("serious", "critical"), f"{violation['help']}: {places}"


def test_an_endless_song_plays_through_reruns_and_ends_when_its_tab_is_closed(visit):
    page = visit().rest()
    page.tab.get_by_text("More choices").click()
    page.tab.get_by_text(ENDLESS).click()
    page.wait_for_js("location.search.includes('endless=true')")
    page.generate_button.click()
    page.wait_for_audio("currentTime > 0.5")
    page.tab.evaluate(NOISES)
    page.roll_dice()
    page.slide("Temperature", "ArrowRight")
    page.wait_for_audio("currentTime > 4")
    assert page.tab.evaluate("noises") == []
    assert engine_state(page)["running"] == 1
    page.tab.close()
    deadline_s = time.monotonic() + 5 * BUSY_FACTOR
    while engine_state(page)["running"]:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_ctrl_c_ends_the_server_although_somebody_listens_to_an_endless_song(chromium):
    with bench.page(chromium) as (tab, process, _):
        tab.goto(f"{tab.url}&endless=true")
        tab.get_by_role("button", name="Generate").click()
        tab.wait_for_function(f"{AUDIO}?.currentTime > 0.5")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) is not None


def test_a_browser_that_refuses_to_start_is_asked_again_with_the_next_gesture(visit):
    page = visit("?length_s=8").rest()
    page.tab.evaluate("""() => { const { play } = HTMLMediaElement.prototype; let n = 0;
      HTMLMediaElement.prototype.play = function () {
        return n++ ? play.call(this) : Promise.reject(new DOMException('', 'NotAllowedError')); }; }""")
    page.generate_button.click()
    page.tab.get_by_text("Press play to hear it.").wait_for()
    page.tab.mouse.click(5, 5)
    page.wait_for_audio("currentTime > 0.2")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_nothing_sticks_out_sideways_and_the_player_is_in_sight(visit, device, scheme):
    page = visit("?length_s=4", color_scheme=scheme, **device)
    paper = page.tab.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / (3 * 255)
    assert brightness < 0.2 if scheme == "dark" else brightness > 0.8
    assert not sticks_out(page)
    page.rest().generate()
    assert not sticks_out(page)
    box = page.tab.locator(".player-dock").first.bounding_box()
    assert box["y"] + box["height"] <= device["viewport"]["height"] + 1


def test_a_song_can_be_made_with_the_keyboard_alone(visit):
    page = visit("?length_s=4").rest()
    for _ in range(30):
        page.tab.keyboard.press("Tab")
        if page.generate_button.evaluate("button => button === document.activeElement"):
            break
    page.tab.keyboard.press("Enter")
    page.wait_for_audio("currentTime > 0.2")


def test_a_link_says_what_it_brings_and_makes_the_same_song(visit):
    page = ready(visit("?length_s=6&temperature=0.6&seed_number=32", **PHONE))
    page.tab.get_by_role("button", name="Share").click()
    page.tab.get_by_role("button", name="Copy to clipboard").wait_for()
    if local_address():  # else phones cannot reach this machine
        assert page.tab.get_by_role("img", name="QR code of the link").bounding_box()["width"] >= 200
    assert not sticks_out(page)
    link = page.tab.locator("[data-testid=stPopoverBody] code").text_content()
    other = visit(link[link.index("?") :])
    other.tab.get_by_text("Somebody sent you").wait_for()
    other.rest()
    contents = [urllib.request.urlopen(each.audio("src")).read() for each in (page, other)]
    assert contents[0] == contents[1]


def test_the_slider_of_the_training_changes_the_moment_and_not_the_place_in_the_music(warm):
    warm.tab.get_by_text("Hear it learn").click()
    warm.tab.get_by_role("button", name="Play it from the beginning").click()
    slider = warm.tab.locator(".player-range:not([hidden])")
    slider.wait_for()
    audio = "document.querySelector('.st-key-learning .player-audio:not([hidden])')"
    warm.wait_for_js(f"{audio}.currentTime > 0.5")
    before_s, before_ms = warm.tab.evaluate(f"[{audio}.currentTime, performance.now()]")
    slider.press("End")
    warm.tab.locator(".st-key-learning .player-status").filter(has_text="Step 1,912").wait_for()
    after_s, after_ms = warm.tab.evaluate(f"[{audio}.currentTime, performance.now()]")
    assert after_s - before_s == pytest.approx((after_ms - before_ms) / 1000, abs=0.3)
    assert slider.get_attribute("aria-valuetext") == "Step 1,912"


SECOND = "document.querySelector('.st-key-booth-track-1 .track-active')"


@pytest.fixture
def booth(chromium, address):
    """Opens the booth with short songs; no error may have been logged in the end."""
    visit = Visit(chromium, address, **LAPTOP)
    visit.tab.goto(f"{address}/?booth=1&length_s=10&idle=5")
    visit.wait_for_audio("currentTime > 1")
    yield visit.tab
    visit.context.close()
    assert visit.complaints == []


def press(page, key: str, shows: str) -> None:
    """Press a key, and wait for a button."""
    page.keyboard.press(key)
    page.locator(f".st-key-booth-{shows} button:enabled").wait_for()


def test_songs_play_and_draw_one_after_the_other_by_themselves(booth):
    url, title = booth.evaluate(f"[{AUDIO}.src, document.querySelector('h1').textContent]")
    assert booth.locator(".track-growth:visible").count() == 1
    booth.wait_for_function(f"{AUDIO}.src !== '{url}' && {AUDIO}.currentTime > 1")
    assert booth.locator("h1").inner_text() != title


def test_a_keyboard_is_enough_for_a_duel_a_vote_and_the_radio(booth):
    press(booth, "Space", "surprise")
    booth.keyboard.press("ArrowRight")
    booth.keyboard.press("ArrowRight")
    press(booth, "Enter", "vote-0")
    assert "wild" not in booth.locator(".stApp").inner_text().lower()
    booth.keyboard.press("2")
    booth.wait_for_function(f"{SECOND} && !{AUDIO}.paused && !{AUDIO}.muted")
    press(booth, "ArrowRight", "again")
    assert "was the wild one" in booth.locator("h1").inner_text()
    score = booth.locator(".booth-score")
    assert score.get_attribute("aria-label") in ("Today: tame 1, wild 0", "Today: tame 0, wild 1")
    assert min(half.evaluate("half => half.offsetWidth") for half in score.locator("i").all()) == 0
    press(booth, "e", "touch")
    booth.wait_for_function(f"{AUDIO}.duration === Infinity && {AUDIO}.currentTime > 1")
    booth.keyboard.press("Escape")
    booth.get_by_text("This song never existed").wait_for()


def test_a_duel_without_a_touch_plays_both_variations_and_then_starts_over(booth):
    press(booth, "Space", "surprise")
    press(booth, "s", "vote-0")
    booth.wait_for_function(SECOND)  # long after five seconds
    assert booth.evaluate(f"{AUDIO}.currentTime") > 7
    booth.get_by_text("This song never existed").wait_for()
