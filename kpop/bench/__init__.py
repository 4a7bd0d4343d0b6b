"""How fast it is, for one listener and for a crowd: `python -m kpop bench`."""
