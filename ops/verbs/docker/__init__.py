"""The verbs for environments that Pulumi keeps in Docker; `ops/cli.py` calls them where `local` is not meant."""
