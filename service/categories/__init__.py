"""Categories of tasks."""
