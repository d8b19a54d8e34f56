"""TLS before a PostgreSQL that has none."""

import asyncio
import contextlib
import ssl
from pathlib import Path

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL manual, "Message Formats", SSLRequest


class TlsFront:
    """TLS before PostgreSQL, in PostgreSQL's own way of beginning it; the wheel's server is built without."""

    def __init__(self, socket_path: Path, folder: Path) -> None:
        self.folder = folder
        self.speaks_tls = True
        self.encrypted: list[bool] = []
        self._socket_path = socket_path
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")

    async def serve(self, host: str = "127.0.0.1") -> asyncio.Server:
        server = await asyncio.start_server(self._connected, host, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            encrypts = first == SSL_REQUEST and self.speaks_tls
            if first == SSL_REQUEST:
                writer.write(b"S" if encrypts else b"N")
                first = b""
            if encrypts:
                await writer.start_tls(self._context)
            self.encrypted.append(encrypts)
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._socket_path))
            there_writer.write(first)
            await asyncio.gather(_pipe(reader, there_writer), _pipe(there_reader, writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
