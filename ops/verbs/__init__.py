"""One file a verb; each has one function of the verb's name, called by `ops/cli.py`."""
