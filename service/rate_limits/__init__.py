"""Rate limits: exact where it is sensitive, leased everywhere else."""
