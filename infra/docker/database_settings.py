"""PostgreSQL's settings for the memory it has: rules of thumb, each with its source."""

from typing import Final

from infra.contract import DATABASE_LOG_SETTINGS

ARCHIVE_FOLDER: Final = "/var/tmp/wal"  # noqa: S108 - a volume; see mounts.py for why there
ARCHIVE_EVERY_SECONDS: Final = 300
"""Longest that a change waits for its archived segment: what a lost disk loses at most."""
SHARED_MEMORY_SHARE: Final = 8
"""One part in so many of the memory is for /dev/shm, where parallel queries meet; Docker's own 64 MB are too few."""


def settings(*, memory_mib: int, cpus: float, max_connections: int, keep_days: int | None) -> dict[str, str]:
    """What `postgres -c` is told.

    Args:
        memory_mib: the container's limit, in MiB.
        cpus: its processors.
        max_connections: most connections.
        keep_days: how long archived WAL is kept, in days; None: none is archived.
    """
    # PostgreSQL manual, 19.4.1: "a reasonable starting value for shared_buffers is 25% of the memory in your system".
    shared_mib = memory_mib // 4
    # Wiki, "Tuning Your PostgreSQL Server": for effective_cache_size, half the memory is conservative, 3/4 reasonable.
    cache_mib = memory_mib * 3 // 4
    # The manual warns that work_mem is taken per sort and per connection; pgtune: the rest, over 3 for each connection.
    work_kib = max(1024, (memory_mib - shared_mib) * 1024 // (3 * max_connections))
    # pgtune: a sixteenth of the memory, at most 2 GiB, for VACUUM and CREATE INDEX; autovacuum takes it per worker.
    maintenance_mib = min(2048, max(16, memory_mib // 16))
    processors = max(1, int(cpus))
    return {
        "max_connections": str(max_connections),
        "shared_buffers": f"{shared_mib}MB",
        "effective_cache_size": f"{cache_mib}MB",
        "work_mem": f"{work_kib}kB",
        "maintenance_work_mem": f"{maintenance_mib}MB",
        "huge_pages": "off",  # a container cannot reserve them
        "max_worker_processes": str(max(8, processors)),
        "max_parallel_workers": str(processors),
        "max_parallel_workers_per_gather": str(min(2, processors // 2)),
        "random_page_cost": "1.1",  # pgtune: solid state disks; the default 4 is for spinning ones
        "max_wal_size": "2GB",  # pgtune, web application: fewer checkpoints than with 1GB
        "min_wal_size": "256MB",
        "wal_compression": "on",
        **_archiving(keep_days),
        "password_encryption": "scram-sha-256",
    } | DATABASE_LOG_SETTINGS


def _archiving(keep_days: int | None) -> dict[str, str]:
    if keep_days is None:
        return {"archive_mode": "off"}
    return {
        "archive_mode": "on",
        "archive_timeout": f"{ARCHIVE_EVERY_SECONDS}s",
        "archive_command": archive_command(keep_days),
    }


def archive_command(keep_days: int) -> str:
    """A shell command that archives one segment: whole or not at all, never over another one (manual, 25.3.1).

    Compressed, since a segment ended by archive_timeout is 16 MiB of mostly zeros. Releases before this one archived
    without; their segments stay as they are. Segments older than the backups they would complete are of no use, and
    would fill the disk in time; that one cannot be deleted is no reason for PostgreSQL to keep the one just archived.
    """
    plain = f"{ARCHIVE_FOLDER}/%f"
    to = f"{plain}.gz"
    return (
        f"mkdir -p {ARCHIVE_FOLDER} && "
        f"if test -f {plain}; then cmp -s %p {plain}; "
        f"elif test -f {to}; then gzip -dc {to} | cmp -s - %p; "
        f"else gzip -c %p > {to}.partial && sync {to}.partial && mv {to}.partial {to}; fi && "
        f"{{ find {ARCHIVE_FOLDER} -type f -mtime +{keep_days} -delete || true; }}"
    )


def arguments(told: dict[str, str]) -> list[str]:
    """The settings as words of the server's command line."""
    return ["postgres", *(word for name, value in told.items() for word in ("-c", f"{name}={value}"))]
