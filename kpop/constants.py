"""The grid of time and frequency that everything shares: each constant once, the rest derived exactly.

A sixteenth note at 125 BPM is 1920 samples at 16 kHz, so a hop of 240 samples puts eight STFT frames in it, and onsets
always fall at the same place in a frame.
"""

SAMPLE_RATE_HZ = 16_000
N_FFT = 960  # samples in an STFT window (60 ms)
HOP_LENGTH = 240  # samples between STFT frames (15 ms)
TEMPO_BPM = 125  # the tempo of our corpus, and of the metronome that the LSTM hears
SIXTEENTHS_PER_BAR = 16
FRAMES_PER_STEP = 2  # STFT frames merged into one code step


def exact_div(numerator: int, denominator: int) -> int:
    """Integer quotient; ValueError unless it is exact."""
    if numerator % denominator:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return numerator // denominator


N_BINS = exact_div(N_FFT, 2) + 1
STEP_SAMPLES = HOP_LENGTH * FRAMES_PER_STEP
SIXTEENTH_SAMPLES = exact_div(SAMPLE_RATE_HZ * 60, TEMPO_BPM * 4)
STEPS_PER_SIXTEENTH = exact_div(SIXTEENTH_SAMPLES, STEP_SAMPLES)
STEPS_PER_BEAT = STEPS_PER_SIXTEENTH * 4
STEPS_PER_BAR = STEPS_PER_SIXTEENTH * SIXTEENTHS_PER_BAR
BAR_SAMPLES = SIXTEENTH_SAMPLES * SIXTEENTHS_PER_BAR
N_METRE_POSITIONS = STEPS_PER_BAR * 4  # the LSTM is given the position of each step within four bars
BEATS_PER_BAR = exact_div(STEPS_PER_BAR, STEPS_PER_BEAT)
STEPS_PER_S = SAMPLE_RATE_HZ / STEP_SAMPLES
FRAMES_PER_S = SAMPLE_RATE_HZ / HOP_LENGTH

# Labels of a step: what is known of a song whose score is known. Class 0 of each is "none, or not known".
N_SECTION_CLASSES = 17  # 8 kinds of section, the first four bars and the later ones of each apart
N_KEY_CLASSES = 25  # 12 major, 12 minor, by the tonic
N_CHORD_CLASSES = 25  # 12 like major, 12 like minor, by the root
LOWEST_TUNE_MIDI, HIGHEST_TUNE_MIDI = 55, 84
N_TUNE_CLASSES = 1 + 2 * (
    HIGHEST_TUNE_MIDI - LOWEST_TUNE_MIDI + 1
)  # a note of the tune as it begins, and as it goes on
LABEL_SIZES = (N_SECTION_CLASSES, N_KEY_CLASSES, N_CHORD_CLASSES, N_TUNE_CLASSES)
