"""Accounts, categories, tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
accepts_from = "0001"


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "schema_state",
        sa.Column("single", sa.Boolean(), sa.CheckConstraint("single"), primary_key=True, server_default=sa.true()),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("accepts_from", sa.Text(), nullable=False),
        sa.Column("migrated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(), server_default=sa.func.uuidv7(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False, unique=True),
        sa.Column("full_name", sa.Text()),
        sa.Column("password_hash", sa.Text(), nullable=False),
        *_created_and_updated(),
    )
    op.create_table(
        "category",
        sa.Column("id", sa.Uuid(), server_default=sa.func.uuidv7(), primary_key=True),
        sa.Column("account_id", sa.Uuid(), sa.ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        *_created_and_updated(),
        sa.UniqueConstraint("account_id", "id", name="category_account_id_id_key"),
    )
    op.create_index("category_account_id_name_id_idx", "category", ["account_id", "name", "id"])
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), server_default=sa.func.uuidv7(), primary_key=True),
        sa.Column("account_id", sa.Uuid(), sa.ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        sa.Column("category_id", sa.Uuid()),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        *_created_and_updated(),
        sa.CheckConstraint("status IN ('todo', 'in_progress', 'completed', 'archived')", name="task_status_check"),
        sa.CheckConstraint("priority BETWEEN 0 AND 3", name="task_priority_check"),
        sa.ForeignKeyConstraint(
            ["account_id", "category_id"],
            ["category.account_id", "category.id"],
            name="task_category_fkey",
            ondelete="SET NULL (category_id)",
        ),
    )
    op.create_index("task_created_at_idx", "task", ["account_id", "created_at", "id"])
    op.create_index(
        "task_due_at_idx", "task", ["account_id", sa.text("coalesce(due_at, 'infinity'::timestamptz)"), "id"]
    )
    op.create_index("task_priority_idx", "task", ["account_id", "priority", "id"])
    op.create_index("task_title_idx", "task", ["account_id", "title", "id"])
    op.create_index("task_category_idx", "task", ["category_id"], postgresql_where=sa.text("category_id IS NOT NULL"))


def _created_and_updated() -> tuple[sa.Column[object], sa.Column[object]]:
    moment = sa.DateTime(timezone=True)
    return (
        sa.Column("created_at", moment, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", moment, server_default=sa.func.now(), nullable=False),
    )
