"""The time-frequency grid: each constant once, the rest derived exactly.

A sixteenth note at 125 BPM is 1920 samples at 16 kHz, so that a hop of 240 samples puts exactly eight STFT frames into
it: onsets of composed songs always fall at the same place in a frame, which makes tokens easier to predict.
"""

VERSION = "0.1.0"  # of the program
SAMPLE_RATE_HZ = 16_000
N_FFT = 960  # samples in an STFT window (60 ms)
HOP_LENGTH = 240  # samples between STFT frames (15 ms)
TEMPO_BPM = 125  # of the composed corpus, and of a hop of HOP_LENGTH
SIXTEENTHS_PER_BAR = 16
FRAMES_PER_STEP = 2  # STFT frames that one step of tokens stands for


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
BEATS_PER_BAR = exact_div(STEPS_PER_BAR, STEPS_PER_BEAT)
N_METRE_POSITIONS = STEPS_PER_BAR * 4  # the LSTM is given each step's position within four bars
PERIOD_16THS = SIXTEENTHS_PER_BAR * 4  # the same in sixteenths
BAR_SAMPLES = SIXTEENTH_SAMPLES * SIXTEENTHS_PER_BAR
SEED_BARS = 4
SEED_STEPS = SEED_BARS * STEPS_PER_BAR
BEAT_16THS = exact_div(SIXTEENTHS_PER_BAR, BEATS_PER_BAR)
CLIP_STEPS = SEED_STEPS + STEPS_PER_BEAT  # a beat more: the context after the seed's end
CLIP_SAMPLES = CLIP_STEPS * STEP_SAMPLES  # at the default tempo
STEPS_PER_S = SAMPLE_RATE_HZ / STEP_SAMPLES
FRAMES_PER_S = SAMPLE_RATE_HZ / HOP_LENGTH

# Labels of a step, known for composed songs. Class 0 of each: none, or unknown.
N_SECTION_CLASSES = 17  # 8 kinds of section, the first four bars and the later ones of each apart
N_KEY_CLASSES = 25  # 12 major, 12 minor, by the tonic
N_CHORD_CLASSES = 25  # 12 major-like, 12 minor-like, by the root
LOWEST_TUNE_MIDI, HIGHEST_TUNE_MIDI = 55, 84
N_TUNE_CLASSES = 1 + 2 * (HIGHEST_TUNE_MIDI - LOWEST_TUNE_MIDI + 1)  # a note's onset, and its continuation
N_SYLLABLE_CLASSES = 143  # those of corpus.lyrics, sung or rapped
LABEL_SIZES = (N_SECTION_CLASSES, N_KEY_CLASSES, N_CHORD_CLASSES, N_TUNE_CLASSES, N_SYLLABLE_CLASSES)
