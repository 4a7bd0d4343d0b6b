"""The LSTM over codes, and its stepping."""

import numpy as np
import torch
from torch.nn import functional as F

from kpop.lstm.config import LstmConfig
from kpop.lstm.int8 import for_stepping
from kpop.lstm.network import CodeLstm
from kpop.lstm.stepper import Stepper
from kpop.training.sequences import Sequence, as_batch, window

SIZES = (5, 7, 6)
CONFIG = LstmConfig(stream_sizes=SIZES, lookback_steps=(4, 9), embed=12, hidden=16, head_width=10, dropout=0.0)


def model() -> CodeLstm:
    torch.manual_seed(1)
    return CodeLstm(CONFIG).eval()


def song(n_steps: int, seed: int = 0) -> Sequence:
    rng = np.random.default_rng(seed)
    streams = np.stack([rng.integers(size, size=n_steps) for size in SIZES], 1).astype(np.int16)
    return Sequence(streams, (np.arange(n_steps) % 256).astype(np.int16))


def logits_of(network: CodeLstm, sequence: Sequence) -> list[torch.Tensor]:
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


def test_stepping_gives_the_probabilities_of_the_whole_pass():
    network, sequence = model(), song(30)
    expected = logits_of(network, sequence)
    stepper, seen = Stepper(network), []

    def teacher(stream: int, logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits[0])
        return torch.tensor([int(sequence.streams[stepper.step, stream])])

    for step in range(30):
        stepper.next(torch.tensor(step), teacher)
    for stream in range(len(SIZES)):
        assert torch.allclose(torch.stack(seen[stream :: len(SIZES)]), expected[stream][0], atol=1e-5)


def test_stepping_in_eight_bits_gives_nearly_the_same_probabilities():
    network, sequence = model(), song(60)
    fast, layers = for_stepping(network)
    exact, rounded = [], []
    for stepper, seen in ((Stepper(network), exact), (Stepper(fast, layers=layers), rounded)):

        def teacher(stream: int, logits: torch.Tensor, stepper=stepper, seen=seen) -> torch.Tensor:
            seen.append(torch.log_softmax(logits[0], 0))
            return torch.tensor([int(sequence.streams[stepper.step, stream])])

        for step in range(60):
            stepper.next(torch.tensor(step), teacher)
    divergence = [(one.exp() * (one - other)).sum().item() for one, other in zip(exact, rounded, strict=True)]
    assert 0 < max(divergence) < 1e-3, "nats"


def test_hearing_a_seed_is_the_same_as_stepping_through_it():
    network, sequence = model(), song(15)
    heard, stepped = Stepper(network), Stepper(network)
    heard.hear(torch.from_numpy(sequence.streams.astype(np.int64)).unsqueeze(0), torch.arange(15))
    for step in range(15):
        values = torch.from_numpy(sequence.streams[step].astype(np.int64))
        stepped.next(torch.tensor(step), lambda stream, logits, values=values: values[stream : stream + 1])
    assert torch.allclose(heard.hidden[-1], stepped.hidden[-1])
    assert torch.equal(heard.past, stepped.past)


def test_a_song_does_not_depend_on_who_else_is_in_the_batch():
    network = model()
    together, alone = Stepper(network, batch=3), Stepper(network, batch=1)
    for step in range(20):
        both = together.next(torch.tensor(step), lambda stream, logits: logits.argmax(1))
        one = alone.next(torch.tensor(step), lambda stream, logits: logits.argmax(1))
        assert torch.equal(both[:1], one)
