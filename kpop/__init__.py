"""Twice4Life: an LSTM dreams up new K-pop from a partially random seed."""
