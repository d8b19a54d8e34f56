"""Mail: queued with what caused it, delivered at least once."""
