"""How sung syllables are pronounced: vowels and consonants as formant targets in time."""

from dataclasses import dataclass

# Formants F1..F5 of a bright female voice in Hz (after Peterson & Barney 1952 and Hillenbrand et al. 1995).
VOWELS_HZ = {
    "a": (880.0, 1_400.0, 2_850.0, 3_900.0, 4_900.0),
    "e": (600.0, 2_200.0, 2_950.0, 4_000.0, 4_900.0),
    "i": (380.0, 2_700.0, 3_300.0, 4_150.0, 5_000.0),
    "o": (540.0, 980.0, 2_750.0, 3_800.0, 4_850.0),
    "u": (400.0, 900.0, 2_650.0, 3_750.0, 4_800.0),
}


@dataclass(frozen=True)
class Consonant:
    """What happens before the vowel: where the formants start from, how much voice and which noise is heard."""

    duration_s: float
    locus_hz: tuple[float, float, float]  # F1..F3; zeros: those of the vowel that follows
    voicing: float  # level of the voice, 1 = as in a vowel
    dullness: float = 0.0  # how much faster than in a vowel the harmonics fall off
    noise: str = ""  # "breath" or "hiss" over the whole, "burst" at the end
    noise_level: float = 0.0


NO_LOCUS = (0.0, 0.0, 0.0)
CONSONANTS = {
    "": Consonant(0.0, NO_LOCUS, 1.0),
    "n": Consonant(0.070, (280.0, 1_700.0, 2_700.0), 0.40, 0.8),
    "m": Consonant(0.075, (270.0, 1_050.0, 2_300.0), 0.40, 0.9),
    "l": Consonant(0.060, (370.0, 1_250.0, 2_900.0), 0.55, 0.4),
    "r": Consonant(0.060, (400.0, 1_300.0, 1_800.0), 0.60, 0.3),
    "y": Consonant(0.075, (310.0, 2_750.0, 3_400.0), 0.75, 0.1),
    "w": Consonant(0.075, (310.0, 680.0, 2_400.0), 0.65, 0.3),
    "d": Consonant(0.045, (260.0, 1_850.0, 2_900.0), 0.06, 0.8, "burst", 0.3),
    "g": Consonant(0.045, (260.0, 2_100.0, 2_500.0), 0.06, 0.8, "burst", 0.3),
    "b": Consonant(0.045, (260.0, 850.0, 2_300.0), 0.08, 0.8, "burst", 0.22),
    "t": Consonant(0.055, (300.0, 1_850.0, 2_900.0), 0.0, 0.0, "burst", 0.5),
    "k": Consonant(0.055, (300.0, 2_100.0, 2_500.0), 0.0, 0.0, "burst", 0.45),
    "p": Consonant(0.050, (300.0, 850.0, 2_300.0), 0.0, 0.0, "burst", 0.35),
    "h": Consonant(0.070, NO_LOCUS, 0.03, 0.5, "breath", 0.26),
    "s": Consonant(0.085, (320.0, 1_800.0, 2_800.0), 0.0, 0.0, "hiss", 0.3),
}
ALIASES = {"j": "d", "f": "s", "v": "b", "z": "s", "c": "k"}  # near enough for a singer without words
SPELLINGS = {"oo": "u", "ee": "i", "ah": "a", "oh": "ou", "ay": "ei", "ey": "ei", "eah": "ea"}


def pronounce(syllable: str) -> tuple[str, str]:
    """Consonant (a key of CONSONANTS) and vowels (1 or 2 keys of VOWELS_HZ) of a syllable such as "na" or "hey".

    The vowels are "" where the syllable has none, as "" itself, which slides on with the vowel before.
    """
    head = syllable.lower()[:1]
    if head in VOWELS_HZ:
        head = ""
    rest = syllable.lower()[len(head) :]
    for spelling, vowels in SPELLINGS.items():
        rest = rest.replace(spelling, vowels)
    head = ALIASES.get(head, head)
    return head if head in CONSONANTS else "", "".join(letter for letter in rest if letter in VOWELS_HZ)[:2]
