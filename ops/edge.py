"""An environment as its clients see it: through the edge, over HTTPS, trusting whom they would trust."""

import ssl
import time
from pathlib import Path
from typing import Final

import httpx

from infra.contract import LIVE_PATH, READY_PATH
from infra.docker.caddyfile import DATA_FOLDER
from infra.embedded.layout import Layout, write_atomically
from infra.stack import Stack
from ops.docker_host import Host
from ops.errors import CheckFailedError

ROOT_CERTIFICATE: Final = f"{DATA_FOLDER}/pki/authorities/local/root.crt"
"""Where Caddy keeps the certificate of its own authority."""
TIMEOUT_SECONDS: Final = 10
CERTIFICATE_SECONDS: Final = 120


def authority_of(layout: Layout) -> Path:
    """Where the certificate of the environment's own authority is kept on this machine."""
    return layout.home / "root.crt"


def fetch_authority(layout: Layout, stack: Stack, host: Host) -> Path | None:
    """Fetch the certificate of the edge's own authority, through Docker and not through what it vouches for.

    Returns:
        Its file; None where the edge's certificate comes from an authority that everybody trusts.

    Raises:
        CheckFailedError: the edge does not run on the machine that answers, or has no such file.
    """
    if stack.edge.tls != "internal":
        return None
    path = authority_of(layout)
    write_atomically(path, host.file_of("edge", ROOT_CERTIFICATE).decode())
    return path


def client(url: str, authority: Path | None) -> httpx.Client:
    """An HTTP client for a public URL, deaf to the caller's proxy settings."""
    trust = ssl.create_default_context(cafile=str(authority) if authority else None)
    return httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=trust)


def wait_for_certificate(url: str) -> None:
    """Wait until the edge has a certificate that everybody trusts; a new domain's takes Let's Encrypt a while.

    Raises:
        CheckFailedError: it has none after CERTIFICATE_SECONDS, or nobody reaches it.
    """
    give_up = time.monotonic() + CERTIFICATE_SECONDS
    while True:
        try:
            with client(url, None) as http:
                http.get(LIVE_PATH)
        except (httpx.HTTPError, ssl.SSLError) as error:
            if time.monotonic() > give_up:
                reason = " ".join(str(error).split())
                raise CheckFailedError(
                    f"{url} has no certificate that is trusted, or cannot be reached ({reason}): see that its name "
                    "leads to the edge's node and that ports 443 and 80 are open; slipway logs ENVIRONMENT edge"
                ) from error
            time.sleep(2)
        else:
            return


def serves(url: str, authority: Path | None) -> bool:
    """Whether a ready service answers there now."""
    if authority is not None and not authority.exists():
        return False
    try:
        with client(url, authority) as http:
            return http.get(READY_PATH).status_code == httpx.codes.OK
    except (httpx.HTTPError, ssl.SSLError):
        return False
