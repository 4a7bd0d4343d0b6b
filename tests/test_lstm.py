"""The LSTM over codes, and its stepping: many songs side by side."""

import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kpop.lstm import kernel
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.places import Places, Stride, warm_up
from kpop.lstm.products import ARITHMETICS
from kpop.training.data import Sequence, as_batch, window

SIZES = (5, 7, 6)
CONFIG = LstmConfig(
    codebook_sizes=SIZES, n_labels=1, lag_steps=(4, 9), embed=12, hidden=16, head_width=10, dropout=0.0
)


def model() -> TokenLstm:
    torch.manual_seed(1)
    return TokenLstm(CONFIG).eval()


def song(n_steps: int, seed: int = 0) -> Sequence:
    rng = np.random.default_rng(seed)
    streams = np.stack([rng.integers(size, size=n_steps) for size in SIZES], 1).astype(np.int16)
    return Sequence(streams, (np.arange(n_steps) % 256).astype(np.int16))


def logits_of(network: TokenLstm, sequence: Sequence) -> list[torch.Tensor]:
    n_steps = len(sequence.slots)
    batch = as_batch([window(sequence, 0, n_steps, CONFIG)], [sequence.slots], torch.device("cpu"))
    return network(batch.before, batch.lookbacks, batch.slots, batch.targets)[0]


def test_probabilities_of_a_step_sum_to_one_over_all_its_values():
    network, sequence = model(), song(12)
    total = 0.0
    for values in np.ndindex(*SIZES):
        sequence.streams[-1] = values
        logits = [F.log_softmax(stream[0, -1], 0) for stream in logits_of(network, sequence)]
        total += sum(log[value] for log, value in zip(logits, values, strict=True)).exp().item()
    assert abs(total - 1) < 1e-4


def test_a_prediction_never_sees_what_it_predicts():
    network, sequence = model(), song(20)
    before = logits_of(network, sequence)
    changed = Sequence(sequence.streams.copy(), sequence.slots)
    changed.streams[10:] = (changed.streams[10:] + 1) % np.array(SIZES)
    after = logits_of(network, changed)
    for stream in range(len(SIZES)):
        assert torch.equal(before[stream][0, :10], after[stream][0, :10])
    assert torch.equal(before[0][0, 10], after[0][0, 10])
    assert not torch.equal(before[1][0, 10], after[1][0, 10]), "later streams know the earlier ones of their step"


def test_look_back_sees_exactly_so_many_steps_ago():
    network, sequence = model(), song(20)
    network.lstm.weight_ih_l0.data.zero_()  # only the heads' own look-back remains
    before = logits_of(network, sequence)[0][0]
    changed = Sequence(sequence.streams.copy(), sequence.slots)
    changed.streams[6, 0] = (changed.streams[6, 0] + 1) % SIZES[0]
    differs = (before != logits_of(network, changed)[0][0]).any(1).nonzero().flatten().tolist()
    assert differs == [6 + 4, 6 + 9]


def exact_nats(network: TokenLstm, sequence: Sequence) -> np.ndarray:
    """Log-probabilities (n_steps, n_codebooks) of the song's values, by the whole pass in float32."""
    values = torch.from_numpy(sequence.streams.astype(np.int64))
    columns = [F.log_softmax(logits[0], 1) for logits in logits_of(network, sequence)]
    return torch.stack([column.gather(1, values[:, [i]])[:, 0] for i, column in enumerate(columns)], 1).detach().numpy()


def heard(place: int, sequence: Sequence, start: int = 0, stop: int | None = None) -> Stride:
    return Stride(
        place, sequence.slots[start:stop].astype(np.int64), known=sequence.streams[start:stop].astype(np.int64)
    )


def dreamt(place: int, n_steps: int, seed: int) -> Stride:
    return Stride(place, np.arange(n_steps), draws=np.random.default_rng(seed).random((n_steps, len(SIZES))))


def test_stepping_gives_the_probabilities_of_the_whole_pass():
    network, sequence = model(), song(60)
    error = Places(network, 1).nats(heard(0, sequence)) - exact_nats(network, sequence)
    assert np.abs(error).max() < 0.01, "nats: weights and activations have eight bits"


def test_probabilities_do_not_depend_on_whether_the_past_was_judged_or_only_heard():
    network, sequence = model(), song(30)
    judged, listened = Places(network, 1), Places(network, 1)
    whole = judged.nats(heard(0, sequence))
    given_back = listened.run([heard(0, sequence, 0, 20)])[0]
    assert np.array_equal(given_back, sequence.streams[:20])
    assert np.array_equal(listened.nats(heard(0, sequence, 20)), whole[20:])


@pytest.mark.parametrize("n_others", [1, 2, 4, 7, 12])
def test_a_song_does_not_depend_on_who_else_is_in_the_run(n_others):
    network, n_steps = model(), 12
    alone = Places(network, 1).run([dreamt(0, n_steps, seed=0)])[0]
    places = Places(network, n_others + 1)
    others = [heard(i, song(n_steps, i)) if i % 3 == 0 else dreamt(i, n_steps, i) for i in range(1, n_others + 1)]
    assert np.array_equal(places.run([*others, dreamt(0, n_steps, seed=0)])[-1], alone)


def test_a_song_does_not_depend_on_how_it_is_cut():
    network, whole = model(), dreamt(0, 30, seed=1)
    expected, places, parts = Places(network, 1).run([whole])[0], Places(network, 3), []
    for start, stop in ((0, 1), (1, 8), (8, 8), (8, 30)):
        part = Stride(2, whole.slots[start:stop], draws=whole.draws[start:stop])
        parts += places.run([part])
    assert np.array_equal(np.concatenate(parts), expected)


def test_a_cleared_place_has_heard_nothing():
    network = model()
    places = Places(network, 2)
    places.run([dreamt(0, 20, seed=2), dreamt(1, 20, seed=3)])
    places.clear(0)
    assert np.array_equal(places.run([dreamt(0, 15, seed=4)]), Places(network, 1).run([dreamt(0, 15, seed=4)]))
    longer = Places(network, 1).run([dreamt(0, 20, seed=3)])[0]
    assert np.array_equal(places._memory.past[1, 19 % 9], longer[19]), "the other place remembers"


def test_values_that_are_not_known_can_be_heard_but_have_no_probability():
    places, unknown = Places(model(), 1), np.array([SIZES] * 3)
    places.run([Stride(0, np.arange(3), known=unknown)])
    with pytest.raises(ValueError, match="known"):
        places.nats(Stride(0, np.arange(3), known=unknown))


def test_a_grammar_says_what_may_follow_what():
    size = SIZES[0]
    upwards = np.ones((2, size + 1, size), bool)
    upwards[1, :size] = np.roll(np.eye(size, dtype=bool), 1, axis=1)  # only the next value may follow
    draws = np.random.default_rng(0).random((20, len(SIZES)))
    ruled = Stride(0, np.arange(20), draws=draws, kinds=np.repeat([0, 1], 10))
    values = Places(model(), 1, upwards).run([ruled])[0][:, 0]
    assert (np.diff(values[9:]) % size == 1).all()
    assert not (np.diff(values[:10]) % size == 1).all(), "kind 0 lets anything follow anything"


@pytest.mark.parametrize(
    "wrong",
    [
        {"known": np.array([(*SIZES[:2], SIZES[2] + 1)])},
        {"known": np.array([(0, 0, -1)])},
        {"draws": np.zeros((1, 3)), "kinds": np.array([1])},
        {"draws": np.zeros((1, 3)), "place": 2},
        {"draws": np.zeros((1, 3)), "temperature": -0.1},
        {"draws": np.zeros((1, 3)), "temperature": np.nan},
        {"draws": np.zeros((1, 3)), "least": 1.0},
        {"draws": np.zeros((2, 3))},
        {},
    ],
)
def test_strides_that_make_no_sense_are_refused_and_change_nothing(wrong):
    places = Places(model(), 2)
    with pytest.raises(ValueError, match=r".+"):
        places.run([Stride(**({"place": 0, "slots": np.zeros(1, np.int64)} | wrong))])
    assert (places._memory.clock == 0).all()


def test_two_strides_cannot_share_a_place():
    with pytest.raises(ValueError, match="place of its own"):
        Places(model(), 2).run([dreamt(1, 3, seed=0), dreamt(1, 3, seed=1)])


def test_warming_up_compiles_all_that_is_ever_compiled_and_leaves_torchs_chance_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    warm_up()
    assert torch.equal(torch.rand(1), expected)
    places = Places(model(), 3)
    places.nats(heard(0, song(4)))
    places.run([dreamt(2, 4, seed=0), heard(1, song(4))])
    assert len(kernel.run.signatures) == 1


@pytest.mark.skipif("vnni" not in ARITHMETICS, reason="the processor cannot take in many songs' products at once")
def test_songs_in_company_cost_less_than_alone():
    network = TokenLstm(LstmConfig(codebook_sizes=(17, *[256] * 7), n_labels=1, head_width=192)).eval()

    def quickest_s(n_songs: int) -> float:
        places, seconds = Places(network, n_songs), []
        for seed in range(20):
            draws = np.random.default_rng(seed).random((n_songs, 8, 8))
            strides = [Stride(place, np.arange(8), draws=draws[place]) for place in range(n_songs)]
            started = time.perf_counter()
            places.run(strides)
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    assert quickest_s(10) < 5 * quickest_s(1)
