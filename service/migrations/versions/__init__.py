"""The revisions, in one line from 0001."""
