"""Measures a running service: dataset, journeys, recorder, baseline, report, ceiling."""
