"""The embedded target: every part of an environment as a process on this machine, under one folder."""
