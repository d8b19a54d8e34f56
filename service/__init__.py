"""The API of Slipway: one FastAPI application."""
