"""How far sets of songs are from each other, and songs of a set among themselves, by statistics of two bars each."""

import numpy as np

N_COMPONENTS = 12
N_DRAWS = 60
TINY = 1e-9

Windows = list[np.ndarray]
"""A set of songs: each (n_windows, n_features)."""


class Space:
    """The directions in which unheard songs differ most (principal components), each with deviation 1 over all."""

    def __init__(self, songs: Windows) -> None:
        windows = np.concatenate(songs)
        self.mean, self.scale = windows.mean(0), windows.std(0) + TINY
        standard = (windows - self.mean) / self.scale
        _, _, directions = np.linalg.svd(standard, full_matrices=False)
        self.directions = directions[:N_COMPONENTS].T

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """(n_windows, n_features) -> (n_windows, N_COMPONENTS)."""
        return (windows - self.mean) / self.scale @ self.directions


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Frechet distance, squared, between normal distributions fitted to two sets (n, n_components): Heusel et al.
    2017 for pictures, Kilgour et al. 2019 ("Frechet audio distance") for sound, both on what a network says of them."""
    first, second = np.cov(one.T), np.cov(other.T)
    root = _root(first)
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(first) + np.trace(second) - 2 * mixed)


def mmd(one: np.ndarray, other: np.ndarray) -> float:
    """Squared maximum mean discrepancy, unbiased, with a Gaussian kernel as wide as the median distance in the pooled
    sets (Gretton et al. 2012, "A kernel two-sample test"). May fall a little below 0 for sets that are alike."""
    pooled = np.concatenate([one, other])
    squares = (pooled**2).sum(1)
    apart = np.maximum(squares[:, None] + squares - 2 * pooled @ pooled.T, 0)
    kernel = np.exp(-apart / max(np.median(apart), TINY))
    n, m = len(one), len(other)
    within = (kernel[:n, :n].sum() - n) / (n * (n - 1)) + (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel[:n, n:].mean())


def distances(rows: dict[str, Windows], ceiling: str) -> dict[str, dict[str, np.ndarray]]:
    """Frechet distance and MMD (N_DRAWS,) of each row from unheard songs.

    Each draw splits the songs' places at random: unheard songs at one half of them are the space and the reference; of
    every row, theirs too, the songs at the other half are compared with it. So all sets are of one size, and no song
    is compared with its own copy. All rows must be equally long. Fewer than four unheard songs cannot
    be split: nothing is returned.
    """
    unheard = rows[ceiling]
    if len(unheard) < 4:
        return {}
    found = {row: {"frechet_distance": [], "mmd": []} for row in rows}
    for draw in range(N_DRAWS):
        order = np.random.default_rng([draw, 7]).permutation(len(unheard))
        half = len(order) // 2
        space = Space([unheard[index] for index in order[:half]])
        reference = space(np.concatenate([unheard[index] for index in order[:half]]))
        for row, songs in rows.items():
            points = space(np.concatenate([songs[index] for index in order[half : 2 * half]]))
            found[row]["frechet_distance"].append(frechet(points, reference))
            found[row]["mmd"].append(mmd(points, reference))
    return {row: {name: np.array(draws) for name, draws in names.items()} for row, names in found.items()}


def diversity(songs: Windows, space: Space) -> np.ndarray:
    """(n_songs,) mean distance of each song's mean window to those of the other songs of its set."""
    means = np.array([space(song).mean(0) for song in songs])
    apart = np.linalg.norm(means[:, None] - means, axis=2)
    return apart.sum(1) / max(len(songs) - 1, 1)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
