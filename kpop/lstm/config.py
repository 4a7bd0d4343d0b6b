"""The LSTM's shape."""

from dataclasses import dataclass

from kpop.grid import STEPS_PER_BAR

METRONOME_BARS = 4
N_METRONOME_SLOTS = STEPS_PER_BAR * METRONOME_BARS


@dataclass(frozen=True)
class LstmConfig:
    """Everything the LSTM is built from.

    stream_sizes: how many values each stream of a step has. Labels come first (what is known of a song from its score;
        the LSTM writes its own as it goes on), then the codec's codes, band by band, coarse first
    n_labels: how many of the streams are labels
    lookback_steps: how long before the step it predicts the network is also shown the codes (1 bar, 4 bars)
    embed, hidden, n_layers, head_width: widths and depth
    dropout, corruption: shares of activations dropped, and of input codes replaced by chance, while training
    """

    stream_sizes: tuple[int, ...]
    n_labels: int
    lookback_steps: tuple[int, ...] = (STEPS_PER_BAR, 4 * STEPS_PER_BAR)
    embed: int = 256
    hidden: int = 512
    n_layers: int = 2
    head_width: int = 192
    dropout: float = 0.1
    corruption: float = 0.06

    @property
    def n_streams(self) -> int:
        """Values a step: labels and codes."""
        return len(self.stream_sizes)

    @property
    def stream_offsets(self) -> tuple[int, ...]:
        """Where each stream's rows begin in a table of all streams; each has one row more, for "not known"."""
        return tuple(sum(size + 1 for size in self.stream_sizes[:stream]) for stream in range(self.n_streams))

    @property
    def n_rows(self) -> int:
        """Rows of a table with a row for each value of each stream, and for "not known"."""
        return sum(size + 1 for size in self.stream_sizes)
