"""What pleases is found, offered more often, and forgotten again when tastes change."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import mean

import pytest
from feedback_simulation import POLICIES as BY
from feedback_simulation import Habits, one_run, report_lines, simulate

from kpop import feedback as taste_room
from kpop.feedback import (
    DOWN,
    KEPT,
    MADE,
    SETTINGS_ARMS,
    UP,
    Count,
    Store,
    Taste,
    liked_clips,
    liked_settings,
    nearest_arm,
    starting_settings,
    vote_now,
)
from kpop.generation.clips import built_in_clips
from kpop.settings import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
N_OFFERS = 400


def votes(kind: str, n: int = 1, clip: str = "neon-rain", at=(0.6, 0.8), days_ago: float = 0) -> Count:
    return Count(f"{NOW - timedelta(days=days_ago):%Y-%m-%d}", kind, clip, *at, n)


def offers(taste: Taste, n: int = N_OFFERS) -> list[Settings]:
    rng = random.Random(1)
    return [starting_settings(taste, rng) for _ in range(n)]


def share_of(taste: Taste, clip: str) -> float:
    return mean(offer.clip == clip for offer in offers(taste))


def test_without_votes_the_defaults_are_offered_most_but_not_always():
    tried = Counter((offer.clip, offer.randomness, offer.temperature) for offer in offers(Taste.of([])))
    start = Settings()
    assert tried.most_common(1)[0][0] == (start.clip, start.randomness, start.temperature)
    for taken in (
        mean(offer.clip == start.clip for offer in offers(Taste.of([]))),
        mean(
            (offer.randomness, offer.temperature) == (start.randomness, start.temperature)
            for offer in offers(Taste.of([]))
        ),
    ):
        assert 0.35 < taken < 0.75
    assert {offer.clip for offer in offers(Taste.of([]))} == {clip.name for clip in built_in_clips()}
    assert {(offer.randomness, offer.temperature) for offer in offers(Taste.of([]))} == set(SETTINGS_ARMS)


def test_an_offer_changes_clip_randomness_temperature_and_seed_number_only():
    for offer in offers(Taste.of([]), 50):
        assert (offer.length_s, offer.model) == (Settings().length_s, Settings().model)
    assert len({offer.seed_number for offer in offers(Taste.of([]), 50)}) > 40


def test_the_same_chance_gives_the_same_offer():
    assert offers(Taste.of([]), 5) == offers(Taste.of([]), 5)


@pytest.mark.parametrize("kind", [UP, KEPT])
def test_what_is_liked_comes_far_more_often(kind):
    taste = Taste.of([votes(kind, 12), votes(DOWN, 3, "slow-honey", (0.1, 1.0))], NOW)
    assert share_of(taste, "neon-rain") > 0.5
    assert share_of(taste, "slow-honey") < 0.05
    assert mean((offer.randomness, offer.temperature) == (0.6, 0.8) for offer in offers(taste)) > 0.5


def test_what_is_disliked_comes_far_less_often_even_if_it_is_the_default():
    start = Settings()
    taste = Taste.of([votes(DOWN, 12, start.clip, (start.randomness, start.temperature))], NOW)
    assert share_of(taste, start.clip) < 0.1


def test_a_song_without_a_word_tells_little_but_not_nothing():
    likings = [
        next(row.mean for row in liked_clips(Taste.of(heard, NOW)) if row.name == "neon-rain")
        for heard in ([votes(UP, 5)], [votes(UP, 5), votes(MADE, 5)], [votes(UP, 5), votes(DOWN, 5)])
    ]
    assert likings[0] > likings[1] > likings[2]
    assert likings[0] - likings[1] < 0.3 * (likings[0] - likings[2])


def test_those_who_keep_and_never_press_a_thumb_still_tell_what_they_like():
    some = Taste.of(
        [votes(KEPT, 10), votes(MADE, 10), votes(KEPT, 2, "slow-honey"), votes(MADE, 30, "slow-honey")], NOW
    )
    assert share_of(some, "neon-rain") > 2 * share_of(some, "slow-honey")


def test_a_vote_counts_half_after_its_half_life():
    fresh, old = (Taste.of([votes(UP, 8, days_ago=days)], NOW).clips["neon-rain"] for days in (0, 30))
    assert old.likes == pytest.approx(fresh.likes / 2)
    assert (fresh.n_votes, old.n_votes) == (8, 8)


def test_tastes_may_change():
    old_love, new_love = votes(UP, 30, days_ago=180), votes(UP, 10, "slow-honey")
    now = Taste.of([old_love, votes(DOWN, 6), new_love], NOW)
    assert share_of(now, "slow-honey") > 0.5
    assert share_of(now, "neon-rain") < 0.1


@pytest.mark.parametrize(
    ("song", "arm"),
    [
        ((0.3, 1.0), (0.3, 1.0)),
        ((0.0, 0.85), (0.1, 0.8)),
        ((0.5, 1.15), (0.6, 1.2)),
        ((1.0, 1.4), (0.9, 1.2)),
        ((0.2, 0.6), (0.3, 0.8)),
        ((0.3, 1.45), None),
        ((0.3, 0.0), None),
    ],
)
def test_a_song_counts_for_the_nearest_settings_unless_it_is_far_wilder_or_tamer(song, arm):
    assert nearest_arm(*song) == arm


def test_a_listeners_own_sound_counts_for_settings_and_for_no_clip():
    taste = Taste.of([votes(UP, 5, "own")], NOW)
    assert sum(tally.n_votes for tally in taste.clips.values()) == 0
    assert taste.settings[(0.6, 0.8)].n_votes == 5


def test_without_any_clip_there_is_still_an_offer(monkeypatch):
    monkeypatch.setattr(taste_room, "built_in_clips", lambda: ())
    assert starting_settings(Taste.of([]), random.Random(1)).clip == Settings().clip


def test_the_ranking_tells_how_sure_it_is():
    few, many = (liked_clips(Taste.of([votes(UP, 3 * n), votes(DOWN, n)], NOW)) for n in (1, 50))
    narrow, wide = (next(row for row in rows if row.name == "neon-rain") for rows in (many, few))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert narrow.mean == pytest.approx(0.75, abs=0.01)
    assert (wide.n_votes, narrow.n_votes) == (4, 200)
    assert liked_settings(Taste.of([votes(UP, 9)], NOW))[0].name == "randomness 0.6, temperature 0.8"


def test_a_vote_in_the_file_changes_what_is_offered(tmp_path):
    store = Store(tmp_path / "feedback.sqlite")
    for number in range(12):
        store.write(number, vote_now(UP, Settings(clip="slow-honey"), False, "Song"))
    assert share_of(Taste.of(store), "slow-honey") > 0.5


@pytest.fixture(scope="module")
def report():
    return simulate(n_listeners=500, n_runs=20)


def test_five_hundred_listeners_are_enough_to_find_what_they_like(report):
    found, by_chance = report["Thompson"], report["uniform"]
    assert found["gap closed"].mean - found["gap closed"].margin > 0.6
    assert found["clip in best third"].mean > 2 * by_chance["clip in best third"].mean
    assert found["settings in best third"].mean > 2 * by_chance["settings in best third"].mean
    assert found["likes missed"].mean < 0.6 * by_chance["likes missed"].mean
    assert report["oracle"]["gap closed"].mean == 1


def test_it_gets_better_with_every_hundred(report):
    course = [figure.mean for name, figure in report["Thompson"].items() if name.startswith("liking of")]
    assert course == sorted(course)
    assert len(course) == 4


def test_curiosity_is_needed_where_nobody_moves_a_slider():
    """Greed sticks to what happens to be liked a little, and never learns what else there is."""
    tame = Habits(tweaks=0.0)
    late = {name: mean(mean(one_run(BY[name], 400, n, tame).liking[-100:]) for n in range(10)) for name in BY}
    assert late["Thompson"] > late["greedy"] + 0.1
    assert late["Thompson"] > late["uniform"] + 0.1


def test_those_who_vote_at_random_only_slow_it_down():
    noisy = simulate(n_listeners=500, n_runs=10, habits=Habits(random=0.4))
    assert 0.25 < noisy["Thompson"]["gap closed"].mean < 1


def test_the_table_has_a_line_for_each_figure_and_a_column_for_each_policy(report):
    head, *lines = report_lines(report)
    assert head.split() == list(BY)
    assert len(lines) == len(report["Thompson"])
    assert all(line.count("±") == len(BY) for line in lines)
