"""One generator for the whole process, which all listeners share."""
