"""The columns of the table: what each is called, and which control is the other end of its scale."""

from dataclasses import dataclass

CEILING = "unheard songs"
GENERATED = "generated songs"
COPIES = "their codec copies"
UNIGRAM = "unigram codes"
BARS = "bars shuffled"
SIXTEENTHS = "sixteenths shuffled"
NOISE = "pink noise"
ROWS = (GENERATED, CEILING, COPIES, UNIGRAM, BARS, SIXTEENTHS, NOISE)


@dataclass(frozen=True)
class Column:
    """One measure. control: the row that is 1 on its normalised scale, "" for a column of raw numbers alone."""

    name: str
    title: str
    control: str


COLUMNS = (
    Column("bits_per_step", "bits a step", UNIGRAM),
    Column("spectral_convergence_db", "convergence dB", ""),
    Column("pulse_clarity", "pulse clarity", NOISE),
    Column("tempo_error_percent", "tempo error %", SIXTEENTHS),
    Column("key_clarity", "key clarity", NOISE),
    Column("key_agreement", "key agreement", NOISE),  # shuffled bars stay in their key
    Column("progression_bars", "progression", BARS),  # their chords are right, the order is not
    Column("band_balance_db", "balance dB", NOISE),
    Column("frechet_distance", "Frechet", SIXTEENTHS),  # noise is so far that all else would look near
    Column("mmd", "MMD", SIXTEENTHS),
    Column("diversity", "diversity", NOISE),  # one noise is like another
    Column("copy_similarity", "nearness", ""),
    Column("level_drift_lu", "level drift LU", ""),
    Column("entropy_drift", "entropy drift", ""),
    Column("pulse_drift", "pulse drift", ""),
    Column("crest_db", "crest dB", ""),
)
