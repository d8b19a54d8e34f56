"""Sessions, mail, idempotency keys, versions of rows, search, counts of tasks.

The search column rewrites the table of tasks, and nobody reads or writes it meanwhile (10 s for 200,000 tasks).
A category that has the name of another one of its account gets its id behind it; names are unique from now on.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0002"
down_revision = "0001"
accepts_from = "0001"


# A task changes its version also where a foreign key or the release before this one changes it.
_KEEP_VERSION = (
    """
    CREATE FUNCTION task_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version = OLD.version + 1;
        NEW.updated_at = now();
        RETURN NEW;
    END $$""",
    """
    CREATE TRIGGER task_version BEFORE UPDATE ON task
        FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION task_version()""",
)

# A word is letters and digits of any script. Where words are not told apart by spaces (Thai, Lao, Myanmar, Khmer, kana,
# Han), each letter is one. Longer than 200 letters it is several: a tsvector cannot hold one of 2,047 bytes.
# Each begins with the last 8 digits of its account's id, so the index leads to one account's words, however many others
# use the same; behind "=", which is in no word, stand the other things that lists are narrowed by.
_SPACELESS = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_SEARCH = (
    """
    CREATE FUNCTION search_mark(account_id uuid) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN right(account_id::text, 8)""",
    """
    CREATE FUNCTION search_folded(said text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN CASE WHEN octet_length(said) = char_length(said) THEN lower(said)
            ELSE casefold(lower(normalize(said, NFKC))) END""",
    rf"""
    CREATE FUNCTION search_spaced(folded text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN CASE WHEN folded ~ '{_SPACELESS}' THEN regexp_replace(folded, '{_SPACELESS}', ' \& ', 'g')
            ELSE folded END""",
    r"""
    CREATE FUNCTION search_broken(spaced text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN CASE WHEN octet_length(spaced) > 2000 THEN regexp_replace(spaced, '\w{200}', '\& ', 'g')
            ELSE spaced END""",
    r"""
    CREATE FUNCTION search_words(account_id uuid, said text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN array_remove(string_to_array(search_mark(account_id) || replace(
            regexp_replace(search_broken(search_spaced(search_folded(said))), '[\W_]+', ' ', 'g'),
            ' ', ' ' || search_mark(account_id)), ' '), search_mark(account_id))""",
    """
    CREATE FUNCTION search_all(account_id uuid, said text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN ('''' || array_to_string(nullif(search_words(account_id, said), '{}'), ''' & ''')
            || ''':*')::tsquery""",
    """
    CREATE FUNCTION search_any(account_id uuid, given text[]) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN ('''' || search_mark(account_id) || '='
            || array_to_string(given, ''' | ''' || search_mark(account_id) || '=') || '''')::tsquery""",
)

# Each backend counts in a slot of its own, or nearly so: two transactions of one account need not wait for each other.
# Rows are written in one order, so that those that do wait never wait in a circle.
_COUNTS = (
    """
    CREATE FUNCTION task_count() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO task_count AS counted
                SELECT account_id, coalesce(category_id, '00000000-0000-0000-0000-000000000000'), status, priority,
                    pg_backend_pid() % 8, count(*)
                FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
            ON CONFLICT (account_id, category_id, status, priority, slot)
                DO UPDATE SET tasks = counted.tasks + excluded.tasks;
        ELSIF TG_OP = 'UPDATE' THEN
            INSERT INTO task_count AS counted
                SELECT account_id, coalesce(category_id, '00000000-0000-0000-0000-000000000000'), status, priority,
                    pg_backend_pid() % 8, sum(change)
                FROM (SELECT account_id, category_id, status, priority, 1 AS change FROM added
                    UNION ALL SELECT account_id, category_id, status, priority, -1 FROM gone) AS changed
                GROUP BY 1, 2, 3, 4 HAVING sum(change) <> 0 ORDER BY 1, 2, 3, 4
            ON CONFLICT (account_id, category_id, status, priority, slot)
                DO UPDATE SET tasks = counted.tasks + excluded.tasks;
        ELSE
            INSERT INTO task_count AS counted
                SELECT account_id, coalesce(category_id, '00000000-0000-0000-0000-000000000000'), status, priority,
                    pg_backend_pid() % 8, -count(*)
                FROM gone WHERE EXISTS (SELECT FROM account WHERE account.id = gone.account_id)
                GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
            ON CONFLICT (account_id, category_id, status, priority, slot)
                DO UPDATE SET tasks = counted.tasks + excluded.tasks;
        END IF;
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER task_count_added AFTER INSERT ON task REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION task_count()""",
    """
    CREATE TRIGGER task_count_changed AFTER UPDATE ON task REFERENCING OLD TABLE AS gone NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION task_count()""",
    """
    CREATE TRIGGER task_count_gone AFTER DELETE ON task REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION task_count()""",
    # Not a foreign key: a count is written after its tasks, and would wait for an account that waits for those. Tasks
    # that go with their account are not counted down: that happens after this.
    """
    CREATE FUNCTION task_count_end() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM task_count USING gone WHERE task_count.account_id = gone.id;
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER task_count_end AFTER DELETE ON account REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION task_count_end()""",
)


def upgrade() -> None:
    """Add what the new release reads and writes; the one before sees defaults."""
    op.add_column("account", sa.Column("email_verified_at", sa.DateTime(timezone=True)))
    op.add_column("account", sa.Column("deactivated_at", sa.DateTime(timezone=True)))
    for table in ("account", "category", "task"):
        op.add_column(table, sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    for statement in _KEEP_VERSION:
        op.execute(statement)
    _category_names()
    _search()
    _lists()
    _counts()
    _sessions()
    _mail()
    op.create_table(
        "idempotency_key",
        sa.Column("scope", sa.Uuid(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.Text()),
        _created_at(),
    )
    op.create_index("idempotency_key_created_at_idx", "idempotency_key", ["created_at"])


def _category_names() -> None:
    op.execute(
        "UPDATE category SET name = left(name, 163) || ' ' || id FROM (SELECT id AS twin_id, row_number() OVER "
        "(PARTITION BY account_id, name ORDER BY id) AS place FROM category) AS twin WHERE id = twin_id AND place > 1"
    )
    op.create_unique_constraint("category_account_id_name_key", "category", ["account_id", "name"])
    op.drop_index("category_account_id_name_id_idx", "category")


def _search() -> None:
    for statement in _SEARCH:
        op.execute(statement)
    op.add_column(
        "task",
        sa.Column(
            "search",
            TSVECTOR(),
            sa.Computed(
                "array_to_tsvector(search_words(account_id, title || ' ' || coalesce(description, '')) || ARRAY["
                "search_mark(account_id) || '=' || status, "
                "search_mark(account_id) || '=' || priority::text, "
                "search_mark(account_id) || '=' || coalesce(category_id::text, 'none')])",
                persisted=True,
            ),
        ),
    )
    # Without a list of pending entries: every search would read it from end to end.
    op.create_index(
        "task_search_idx", "task", ["search"], postgresql_using="gin", postgresql_with={"fastupdate": "off"}
    )


def _lists() -> None:
    op.create_index("task_updated_at_idx", "task", ["account_id", "updated_at", "id"])
    # What is still to be done, by due date; with what counting the overdue ones needs.
    op.create_index(
        "task_open_idx",
        "task",
        ["account_id", sa.text("coalesce(due_at, 'infinity'::timestamptz)"), "id"],
        postgresql_include=["due_at", "category_id"],
        postgresql_where=sa.text("status IN ('todo', 'in_progress')"),
    )
    op.create_index(
        "task_completed_at_idx",
        "task",
        ["account_id", "completed_at"],
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )


def _counts() -> None:
    op.create_table(
        "task_count",
        sa.Column("account_id", sa.Uuid(), primary_key=True),
        sa.Column("category_id", sa.Uuid(), primary_key=True),
        sa.Column("status", sa.Text(), primary_key=True),
        sa.Column("priority", sa.SmallInteger(), primary_key=True),
        sa.Column("slot", sa.SmallInteger(), primary_key=True),
        sa.Column("tasks", sa.Integer(), nullable=False),
    )
    # Room in each page for the next version of its rows, which then needs no new entry in the index.
    op.execute("ALTER TABLE task_count SET (fillfactor = 50)")
    op.execute(
        "INSERT INTO task_count SELECT account_id, coalesce(category_id, '00000000-0000-0000-0000-000000000000'), "
        "status, priority, 0, count(*) FROM task GROUP BY 1, 2, 3, 4"
    )
    for statement in _COUNTS:
        op.execute(statement)


def _sessions() -> None:
    op.create_table(
        "session",
        sa.Column("id", sa.Uuid(), server_default=sa.func.uuidv7(), primary_key=True),
        _account_id(),
        sa.Column("client", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("family_hash", sa.LargeBinary()),
        _created_at(),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("session_account_id_idx", "session", ["account_id"])
    op.create_index("session_expires_at_idx", "session", ["expires_at"])
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column("session_id", sa.Uuid(), sa.ForeignKey("session.id", ondelete="CASCADE"), nullable=False),
        _created_at(),
        sa.Column("used_at", sa.DateTime(timezone=True)),
    )
    op.create_index("refresh_token_session_id_idx", "refresh_token", ["session_id"])
    op.create_index("refresh_token_used_at_idx", "refresh_token", ["used_at"])


def _mail() -> None:
    op.create_table(
        "mail",
        sa.Column("id", sa.Uuid(), server_default=sa.func.uuidv7(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        _created_at(),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("mail_next_attempt_at_idx", "mail", ["next_attempt_at"])
    op.create_table(
        "mail_token",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        _account_id(),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("mail_token_account_id_idx", "mail_token", ["account_id"])
    op.create_index("mail_token_expires_at_idx", "mail_token", ["expires_at"])


def _account_id() -> sa.Column[object]:
    return sa.Column("account_id", sa.Uuid(), sa.ForeignKey("account.id", ondelete="CASCADE"), nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
