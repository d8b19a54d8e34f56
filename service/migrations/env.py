"""Alembic's entry: runs the revisions on the connection that the job made, each in a transaction of its own.

A job killed half-way therefore leaves whole revisions only, and running it again goes on where it stopped.
"""

from typing import Any

from alembic import context

# The job's own table and Alembic's, which no model describes.
_BOOKKEEPING = {"schema_state", "alembic_version"}


def _is_modelled(_item: Any, name: str | None, kind: str, *_: Any) -> bool:
    return not (kind == "table" and name in _BOOKKEEPING)


attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes.get("metadata"),
    include_object=_is_modelled,
    compare_server_default=True,
    transaction_per_migration=True,
    on_version_apply=attributes.get("on_version_apply", ()),
)
with context.begin_transaction():
    context.run_migrations()
