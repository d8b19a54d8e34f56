"""Accounts, categories and tasks as they are found in a service in use: skewed, in many languages, deterministic.

Pure: numbers from a seed, no database. All times are counted back from a given *now*, so that due dates lie around the
moment of loading; everything else depends on the parameters alone.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.phrases import CATEGORY_NAMES, COLORS, LANGUAGES, Language

__all__ = ["EMAIL_DOMAIN", "SESSION_CLIENT", "Parameters", "Population", "uuid7"]

EMAIL_DOMAIN = "dataset.example"
ALGORITHM = 2  # counts up when the same parameters begin to mean other rows; part of the digest

SESSION_CLIENT = "dataset"  # tells the dataset's sessions from those that load runs begin
SESSIONS_LAST = timedelta(days=3650)
STATUSES = ("todo", "in_progress", "completed", "archived")
DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[Any, ...]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What decides a population.

    Args:
        accounts: number of accounts, at least 1.
        tasks: number of tasks over all accounts, at least `accounts` (everybody has one).
        seed: seed of the numpy generator.
    """

    accounts: int = 1_000
    tasks: int = 200_000
    seed: int = 1

    def __post_init__(self) -> None:
        if self.accounts < 1 or self.tasks < self.accounts:
            raise ValueError(
                f"{self.tasks} tasks for {self.accounts} accounts: give at least one account and a task for each"
            )

    @property
    def digest(self) -> str:
        """Names the rows that these parameters make: equal digests, equal rows (but for the shift in time)."""
        text = json.dumps({"algorithm": ALGORITHM, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def uuid7(microseconds: Integers, generator: np.random.Generator) -> list[uuid.UUID]:
    """UUIDs of version 7 (RFC 9562, 5.7) whose order is that of their times, as PostgreSQL's uuidv7() makes them.

    Args:
        microseconds: shape (n,), since the UNIX epoch. The 12 bits after the milliseconds hold the fraction of the
            millisecond (RFC 9562, 6.2, method 3).
        generator: source of the remaining 62 bits.
    """
    milliseconds, fraction = np.divmod(microseconds, 1000)
    octets = generator.integers(0, 256, size=(len(microseconds), 16), dtype=np.uint8)
    octets[:, :6] = milliseconds.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    sub_millisecond = fraction * 4096 // 1000
    octets[:, 6] = 0x70 | (sub_millisecond >> 8)
    octets[:, 7] = sub_millisecond & 0xFF
    octets[:, 8] = 0x80 | (octets[:, 8] & 0x3F)
    blob = octets.tobytes()
    return [uuid.UUID(bytes=blob[start : start + 16]) for start in range(0, len(blob), 16)]


def _times(microseconds: Integers) -> list[datetime]:
    return [EPOCH + timedelta(microseconds=value) for value in microseconds.tolist()]


def _times_or_none(microseconds: Integers, present: NDArray[np.bool_]) -> list[datetime | None]:
    return [
        EPOCH + timedelta(microseconds=value) if there else None
        for value, there in zip(microseconds.tolist(), present.tolist(), strict=True)
    ]


def _shares(weights: Floats, total: int) -> Integers:
    """Integers in proportion to `weights`, at least 1 each, summing to `total` (largest remainders)."""
    exact = weights / weights.sum() * (total - len(weights))
    counts = np.floor(exact).astype(np.int64)
    missing = total - len(weights) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    shares: Integers = counts + 1
    return shares


class Population:
    """The rows for one set of parameters, seen from one moment.

    Args:
        parameters: what decides the rows.
        now: the moment that due dates lie around and no row's creation lies after; with time zone.
    """

    def __init__(self, parameters: Parameters, now: datetime) -> None:
        self.parameters = parameters
        self.now_us = int((now - EPOCH) / timedelta(microseconds=1))
        generator = np.random.default_rng(parameters.seed)
        count = parameters.accounts
        # Log-normal with sigma 1.6: of 1,000 accounts sharing 200,000 tasks half have some 60 or fewer, the largest
        # few thousands, one some 20,000.
        self.task_counts = _shares(generator.lognormal(sigma=1.6, size=count), parameters.tasks)
        self.account_created_us = self.now_us - (generator.uniform(1, 730, size=count) * DAY_US).astype(np.int64)
        self.account_ids = uuid7(self.account_created_us, generator)
        shares = np.array([language.share for language in LANGUAGES])
        self.account_languages = generator.choice(len(LANGUAGES), size=count, p=shares / shares.sum())
        self.category_counts = generator.integers(2, 9, size=count)
        self.category_owners = np.repeat(np.arange(count), self.category_counts)
        self.category_created_us = self._between(generator, self.account_created_us[self.category_owners])
        self.category_ids = uuid7(self.category_created_us, generator)
        self._generator = generator

    def _between(self, generator: np.random.Generator, earliest_us: Integers) -> Integers:
        """Moments between each of `earliest_us` and now, the later the likelier (people use a service ever more)."""
        fraction = generator.uniform(size=len(earliest_us)) ** 0.7
        return earliest_us + (fraction * (self.now_us - earliest_us)).astype(np.int64)

    @cached_property
    def emails(self) -> list[str]:
        """One address for each account. They carry the digest, so that a loaded dataset can be recognised."""
        return [f"account-{index:05}.{self.parameters.digest}@{EMAIL_DOMAIN}" for index in range(len(self.account_ids))]

    def accounts(self, password_hash: str) -> list[Row]:
        """Rows of (id, email, full_name, password_hash, created_at, updated_at)."""
        created = _times(self.account_created_us)
        return [
            (identity, email, f"Account {index} ({LANGUAGES[language].code})", password_hash, moment, moment)
            for index, (identity, email, language, moment) in enumerate(
                zip(self.account_ids, self.emails, self.account_languages.tolist(), created, strict=True)
            )
        ]

    def sessions(self) -> list[Row]:
        """Rows of (id, account_id, client, created_at, used_at, expires_at): one to three logins of each account.

        They last until long after the dataset is forgotten, so that the table stays as it is.
        """
        generator = np.random.default_rng([self.parameters.seed, 2])
        owners = np.repeat(np.arange(self.parameters.accounts), generator.integers(1, 4, size=self.parameters.accounts))
        created_us = self._between(generator, self.account_created_us[owners])
        used_us = self._between(generator, created_us)
        expires = EPOCH + timedelta(microseconds=self.now_us) + SESSIONS_LAST
        return [
            (identity, self.account_ids[owner], SESSION_CLIENT, created, used, expires)
            for identity, owner, created, used in zip(
                uuid7(created_us, generator), owners.tolist(), _times(created_us), _times(used_us), strict=True
            )
        ]

    def categories(self) -> list[Row]:
        """Rows of (id, account_id, name, color, created_at, updated_at); no name twice in one account."""
        created = _times(self.category_created_us)
        first = np.repeat(np.cumsum(self.category_counts) - self.category_counts, self.category_counts)
        names = (np.arange(len(created)) - first + self.category_owners) % len(CATEGORY_NAMES)
        colors = np.arange(len(created)) % len(COLORS)
        return [
            (identity, self.account_ids[owner], CATEGORY_NAMES[name], COLORS[color], moment, moment)
            for identity, owner, name, color, moment in zip(
                self.category_ids, self.category_owners.tolist(), names.tolist(), colors.tolist(), created, strict=True
            )
        ]

    def tasks(self, chunk_rows: int = 20_000) -> Iterator[list[Row]]:
        """Chunks of rows of (id, account_id, category_id, title, description, status, priority, due_at, completed_at,
        created_at, updated_at), oldest first: accounts' rows lie interleaved on disk, as they do in life.
        """  # noqa: D205 - the columns are the summary
        generator = np.random.default_rng([self.parameters.seed, 1])
        owners = np.repeat(np.arange(self.parameters.accounts), self.task_counts)
        created_us = self._between(generator, self.account_created_us[owners])
        order = np.argsort(created_us, kind="stable")
        owners, created_us = owners[order], created_us[order]
        sentences = [_sentences(language, generator) for language in LANGUAGES]
        for start in range(0, len(owners), chunk_rows):
            part = slice(start, start + chunk_rows)
            yield self._task_rows(generator, owners[part], created_us[part], sentences)

    def _task_rows(
        self, generator: np.random.Generator, owners: Integers, created_us: Integers, sentences: list[list[str]]
    ) -> list[Row]:
        count = len(owners)
        age_us = self.now_us - created_us
        is_open = generator.uniform(size=count) < 0.1 + 0.8 * np.exp(-age_us / (60 * DAY_US))
        status = np.where(is_open, generator.uniform(size=count) < 0.35, 2 + (generator.uniform(size=count) < 0.25))
        took_us = np.minimum((generator.lognormal(np.log(3), 1.2, size=count) * DAY_US).astype(np.int64), age_us)
        around_now = self.now_us + generator.normal(5, 25, size=count) * DAY_US
        after_creation = created_us + generator.lognormal(np.log(7), 1, size=count) * DAY_US
        due_us = (np.where(is_open, around_now, after_creation) // 60_000_000 * 60_000_000).astype(np.int64)
        has_due = generator.uniform(size=count) < 0.7
        category = np.cumsum(self.category_counts)[owners] - 1 - generator.integers(0, self.category_counts[owners])
        has_category = generator.uniform(size=count) < 0.8
        priorities = generator.choice(4, size=count, p=(0.25, 0.5, 0.18, 0.07))
        languages = np.where(generator.uniform(size=count) < 0.9, self.account_languages[owners], 0).tolist()
        titles = _titles(generator, languages)
        descriptions = _descriptions(generator, languages, sentences)
        updated = _times(created_us + took_us)
        return list(
            zip(
                uuid7(created_us, generator),
                [self.account_ids[owner] for owner in owners.tolist()],
                [
                    self.category_ids[index] if there else None
                    for index, there in zip(category.tolist(), has_category.tolist(), strict=True)
                ],
                titles,
                descriptions,
                [STATUSES[value] for value in status.tolist()],
                priorities.tolist(),
                _times_or_none(due_us, has_due),
                [moment if value == 2 else None for moment, value in zip(updated, status.tolist(), strict=True)],
                _times(created_us),
                updated,
                strict=True,
            )
        )


def _titles(generator: np.random.Generator, languages: list[int]) -> list[str]:
    picks = generator.integers(0, 1 << 20, size=(len(languages), 3)).tolist()
    titles = []
    for code, (start, thing, end) in zip(languages, picks, strict=True):
        language = LANGUAGES[code]
        words = [language.starts[start % len(language.starts)], language.things[thing % len(language.things)]]
        if end % 3:
            words.append(language.ends[end % len(language.ends)])
        titles.append(language.joiner.join(words))
    return titles


def _sentences(language: Language, generator: np.random.Generator, count: int = 500) -> list[str]:
    code = LANGUAGES.index(language)
    return [title + language.stop for title in _titles(generator, [code] * count)]


def _descriptions(generator: np.random.Generator, languages: list[int], sentences: list[list[str]]) -> list[str | None]:
    """Three of ten tasks have none, most a sentence or two, a few a page (at most 40 sentences, some 2,000 letters)."""
    lengths = np.minimum(generator.geometric(0.3, size=len(languages)) ** 1.3, 40).astype(np.int64)
    lengths[generator.uniform(size=len(languages)) < 0.3] = 0
    starts = generator.integers(0, 460, size=len(languages)).tolist()
    return [
        "".join(sentences[code][start : start + length]).rstrip() if length else None
        for code, start, length in zip(languages, starts, lengths.tolist(), strict=True)
    ]
