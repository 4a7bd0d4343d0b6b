"""The one exception whose message is meant for users."""


class KpopError(Exception):
    """Something a user can put right. The message is one sentence: what is wrong and what to do."""
