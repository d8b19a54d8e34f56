"""The database's schema: its revisions, and the job that applies them."""
