"""Twice4Life: an LSTM over STFT frames that continues a partially random seed of pop music."""

import os

# Before numpy is imported. Its matrix products here take milliseconds; on a busy machine each waited for all threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
