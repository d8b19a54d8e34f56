"""Walks one deploy from source to record; the only part that knows the others."""
