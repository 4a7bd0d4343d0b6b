"""The LSTM, and the batched sampler against it and on its own."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn import functional as F

from kpop.lstm.model import LstmConfig, TokenLstm, recalled_steps
from kpop.lstm.sampler import LABEL_TEMPERATURE, SAMPLED, BatchState, Chunk, Sampler, _run_steps
from kpop.training.data import TokenSequence, make_batch

SIZES = (5, 7, 6)
SHAPE = {"embed": 12, "hidden": 16, "head_width": 10, "dropout": 0.0}
CONFIG = LstmConfig(codebook_sizes=SIZES, n_labels=1, lag_steps=(4, 9), recalls=True, **SHAPE)
RECALLED = np.random.default_rng(9).integers(-1, np.arange(60))  # of each step: an earlier one, or none
LOGITS = np.array([2.0, 1.0, 0.0, -1.0], np.float32)


def model() -> TokenLstm:
    torch.manual_seed(1)
    return TokenLstm(CONFIG).eval()


def song(n_steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=n_steps) for size in SIZES], 1)


def forced(slot: int, tokens: np.ndarray, start: int = 0, stop: int | None = None) -> Chunk:
    steps = slice(start, stop)
    return Chunk(slot, np.arange(len(tokens))[steps], tokens[steps], recalled=RECALLED[: len(tokens)][steps])


def sampled(slot: int, n_steps: int, seed: int) -> Chunk:
    uniforms = np.random.default_rng(seed).random((n_steps, len(SIZES)))
    return Chunk(slot, np.arange(n_steps), uniforms=uniforms, recalled=RECALLED[:n_steps])


def logits_of(network: TokenLstm, tokens: np.ndarray) -> list[torch.Tensor]:
    """Of each codebook (n_steps, size), by one pass of the torch module in float32."""
    sequence = TokenSequence(tokens.astype(np.int16), np.arange(len(tokens)), RECALLED[: len(tokens)])
    return [logits[0] for logits in network(**make_batch([(sequence, 0)], len(tokens), CONFIG, torch.device("cpu")))]


def fixed_logits(logits: np.ndarray = LOGITS) -> TokenLstm:
    """A model of one label and one code that always gives these logits."""
    sizes = (len(logits), len(logits))
    network = TokenLstm(LstmConfig(sizes, n_labels=1, lag_steps=(2,), embed=8, hidden=8, head_width=8))
    for layer in network.heads.output_layers:
        layer.weight.data.zero_()
        layer.bias.data = torch.from_numpy(logits.copy())
    return network


def drawn(network: TokenLstm, n: int = 20_000, constraints: np.ndarray | None = None, **options) -> np.ndarray:
    """Tokens (n, 2) of a long chunk."""
    sampler, uniforms = Sampler(network, constraints), np.random.default_rng(0).random((n, 2))
    chunk = Chunk(0, np.zeros(n, np.int64), uniforms=uniforms, **options)
    return sampler.run(BatchState(network.config, 1), [chunk])[0]


def test_a_prediction_sees_only_earlier_steps_and_the_earlier_codebooks_of_its_own():
    network, tokens = model(), song(20)
    before = logits_of(network, tokens)
    for changed, size in enumerate(SIZES):
        tokens[10, changed] = (tokens[10, changed] + 1) % size
        after = logits_of(network, tokens)
        for codebook, (old, new) in enumerate(zip(before, after, strict=True)):
            assert torch.equal(old[:10], new[:10])
            assert torch.equal(old[10], new[10]) == (codebook <= changed)
        before = after


def test_log_probs_are_those_of_the_torch_module():
    network, tokens = model(), song(60)
    pairs = zip(logits_of(network, tokens), torch.from_numpy(tokens).T, strict=True)
    exact = [-F.cross_entropy(logits, own, reduction="none") for logits, own in pairs]
    log_probs = Sampler(network).log_probs(BatchState(CONFIG, 1), forced(0, tokens))
    assert np.abs(log_probs - torch.stack(exact, 1).detach().numpy()).max() < 0.01, "weights have eight bits"


def test_prefill_score_and_sampling_leave_the_same_state_and_share_one_compilation():
    sampler, tokens = Sampler(model()), song(30)
    scored, prefilled, sampling = (BatchState(CONFIG, 1) for _ in range(3))
    whole = sampler.log_probs(scored, forced(0, tokens))
    sampler.run(prefilled, [forced(0, tokens, 0, 20)])
    assert np.array_equal(sampler.log_probs(prefilled, forced(0, tokens, 20)), whole[20:])
    own = sampler.run(sampling, [sampled(0, 20, seed=2)])[0]
    prefilled.reset(0)
    sampler.run(prefilled, [forced(0, own)])
    for name in ("n_steps", "hidden", "cell"):
        assert np.array_equal(getattr(prefilled, name), getattr(sampling, name)), name
    assert np.array_equal(prefilled.history[0, :20], sampling.history[0, :20]), "later rows are of earlier songs"
    assert len(_run_steps.signatures) == 1


def test_some_tokens_of_a_chunk_can_be_forced_and_the_others_sampled():
    tokens, uniforms = song(20), np.random.default_rng(2).random((20, len(SIZES)))
    partly = np.where(np.arange(3) == 1, tokens, SAMPLED)
    chunk = Chunk(0, np.arange(20), partly, uniforms, recalled=RECALLED[:20])
    found = Sampler(model()).run(BatchState(CONFIG, 1), [chunk])[0]
    assert np.array_equal(found[:, 1], tokens[:, 1])
    assert (found[:, [0, 2]] >= 0).all()
    again = Chunk(0, np.arange(20), np.where(np.arange(3) == 2, SAMPLED, found), uniforms, recalled=RECALLED[:20])
    assert np.array_equal(Sampler(model()).run(BatchState(CONFIG, 1), [again])[0], found)


def test_a_section_recalls_the_last_one_with_its_label():
    sections = np.array([0, 0, 3, 3, 3, 4, 3, 3, 3, 3, 4, 4, 0, 3])
    assert recalled_steps(sections).tolist() == [-1, -1, -1, -1, -1, -1, 2, 3, 4, -1, 5, -1, -1, 6]


def test_mask_tokens_can_be_fed_but_have_no_probability():
    sampler, state, masks = Sampler(model()), BatchState(CONFIG, 1), np.array([SIZES] * 3)
    sampler.run(state, [forced(0, masks)])
    with pytest.raises(ValueError, match="mask"):
        sampler.log_probs(state, forced(0, masks))


def test_metre_positions_wrap_around():
    chunks = (Chunk(0, np.arange(9) + start, forced_tokens=song(9)) for start in (0, 256))
    first, later = (Sampler(model()).log_probs(BatchState(CONFIG, 1), chunk) for chunk in chunks)
    assert np.array_equal(first, later)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_have_the_models_probabilities_at_their_temperature(temperature):
    tokens = drawn(fixed_logits(), temperature=temperature)
    for drawn_tokens, factor in zip(tokens.T, (LABEL_TEMPERATURE, 1), strict=True):
        shares = np.bincount(drawn_tokens, minlength=4) / len(tokens)
        assert np.abs(shares - softmax(LOGITS / (temperature * factor))).max() < 0.015


@pytest.mark.parametrize("temperature", [0, 5e-324, 1e-6])
@pytest.mark.parametrize(("logits", "likeliest"), [(LOGITS, 0), (LOGITS[::-1], 3)])
def test_temperature_zero_takes_the_most_likely_token(logits, likeliest, temperature):
    assert set(drawn(fixed_logits(logits), 50, temperature=temperature).ravel()) == {likeliest}


def test_min_p_excludes_tokens_whatever_the_temperature_and_without_any_logits_there_still_is_a_token():
    tokens = drawn(fixed_logits(), 2_000, temperature=2.0, min_p=0.1)
    assert set(tokens[:, 1]) == {0, 1, 2}, "e^-2 is 0.14 of the most likely one, e^-3 only 0.05"
    assert set(drawn(fixed_logits(np.full(4, np.nan, np.float32)), 5).ravel()) == {0}


def test_constraints_limit_what_may_follow_in_codebook_0():
    size = len(LOGITS)
    constraints = np.ones((2, size + 1, size), bool)
    constraints[1, :size] = np.roll(np.eye(size, dtype=bool), 1, axis=1)  # only the next token may follow
    constraints[1, size] = [False, False, False, True]  # and nothing but 3 may begin
    ruled = drawn(fixed_logits(), 40, constraints, constraint_ids=np.repeat([1, 0], 20))[:, 0]
    assert (np.diff(ruled[:20], prepend=2) % size == 1).all()
    assert not (np.diff(ruled[20:]) % size == 1).all(), "constraint 0 is none"
    with pytest.raises(ValueError, match="every row"):
        Sampler(fixed_logits(), np.zeros((1, size + 1, size), bool))


OUT_OF_RANGE = [{"slot": 2}, {"slot": 1}, {"temperature": -0.1}, {"temperature": np.nan}, {"min_p": 1.0}]
OUT_OF_RANGE += [{"constraint_ids": np.array([1])}, {"uniforms": np.zeros((2, 3))}, {"uniforms": None}]
FORCED = [{"uniforms": None, "forced_tokens": np.array([codes])} for codes in ((*SIZES[:2], SIZES[2] + 1), (0, 0, -2))]


@pytest.mark.parametrize("wrong", OUT_OF_RANGE + FORCED)
def test_invalid_chunks_are_refused_and_change_nothing(wrong):
    state, valid = BatchState(CONFIG, 2), {"slot": 0, "metre_positions": [0], "uniforms": np.zeros((1, 3))}
    with pytest.raises(ValueError, match=r".+"):
        Sampler(model()).run(state, [sampled(1, 1, 0), Chunk(**(valid | wrong))])
    assert not state.n_steps.any()
