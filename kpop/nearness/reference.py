"""How near songs come that nobody has trained on: what a similarity is to be judged by."""

from dataclasses import dataclass

import numpy as np

QUANTILES = np.linspace(0, 1, 41)
N_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 160)  # the last: songs of five minutes


@dataclass(frozen=True)
class Reference:
    """Highest similarities of unheard songs, by how much of them is compared: the more, the higher the highest.

    n_windows: (n_lengths,) pairs of bars compared; similarities: (n_lengths, len(QUANTILES)) float32
    """

    n_windows: np.ndarray
    similarities: np.ndarray

    @classmethod
    def of(cls, by_song: list[np.ndarray]) -> "Reference":
        """From each unheard song's highest similarity at each of its two bars.

        Lengths that no song has are read from the songs laid end to end.
        """
        medley = np.concatenate(by_song)
        rows = []
        for length in N_WINDOWS:
            runs = [song for song in by_song if len(song) >= length] or [np.resize(medley, max(len(medley), length))]
            highest = [np.lib.stride_tricks.sliding_window_view(run, length).max(1) for run in runs]
            rows.append(np.quantile(np.concatenate(highest), QUANTILES))
        return cls(np.array(N_WINDOWS, np.int32), np.array(rows, np.float32))

    def at(self, n_windows: int) -> np.ndarray:
        """Quantiles (len(QUANTILES),) of the highest similarity of n_windows pairs of bars of an unheard song."""
        place = np.log(max(n_windows, 1))
        columns = [np.interp(place, np.log(self.n_windows), column) for column in self.similarities.T]
        return np.maximum.accumulate(columns)

    def quantile(self, share: float, n_windows: int) -> float:
        """The similarity that a share 0..1 of unheard songs stay under, n_windows pairs of bars of each compared."""
        return float(np.interp(share, QUANTILES, self.at(n_windows)))

    def percentile(self, similarity: float, n_windows: int) -> float:
        """Share 0..1 of unheard songs that come less near than similarity; interpolated."""
        return float(np.interp(similarity, self.at(n_windows), QUANTILES))
