"""The one exception that people are meant to read."""


class KpopError(Exception):
    """Something a person can put right. The message is one sentence: what is wrong and what to do."""
