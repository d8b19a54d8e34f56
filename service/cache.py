"""Valkey: what may be lost, and whose absence slows or loosens things but stops nothing.

So far only asked whether it answers. That takes two commands of its protocol; importing a client library takes a tenth
of a second of every start (docs: https://valkey.io/topics/protocol/).
"""

import asyncio
from urllib.parse import urlsplit

from service.settings import Settings

_DEFAULT_PORT = 6379


class CacheError(Exception):
    """Valkey answered, but not with what was asked for; its answer is the text."""


class Cache:
    """The way to Valkey."""

    def __init__(self, settings: Settings) -> None:
        self._address = urlsplit(settings.cache_url)
        self._password = settings.cache_password.get_secret_value()

    async def ping(self) -> None:
        """Ask for an answer, on a connection of its own; bound the time outside.

        Raises:
            OSError: nobody listens.
            CacheError: the password is wrong, or Valkey cannot serve.
        """
        reader, writer = await self._connect()
        try:
            if self._password:
                writer.write(_command("AUTH", self._password))
            writer.write(_command("PING"))
            while (answer := await reader.readline()) != b"+PONG\r\n":
                if answer != b"+OK\r\n":
                    raise CacheError(answer.decode(errors="replace").strip() or "connection closed")
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.scheme == "unix":
            return await asyncio.open_unix_connection(self._address.path)
        return await asyncio.open_connection(self._address.hostname, self._address.port or _DEFAULT_PORT)


def _command(*words: str) -> bytes:
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()
