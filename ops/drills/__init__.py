"""Failure drills: break a part of a throw-away environment on purpose, and see what its users saw."""
