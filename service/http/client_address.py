"""Who sent a request, when proxies stand between (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For).

Each proxy appends the address it was called from to X-Forwarded-For, so only the right end of the list is true: the
part that proxies of ours wrote. We go leftwards as long as what we find is a proxy of ours; the first that is not is
the client. Whatever stands further left is the client's word, and worth as much.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from starlette.types import Scope

UNIX = "unix"
"""The address of whoever connects over a UNIX socket and is no proxy, and the setting's word for trusting it."""

_CLIENT_PREFIX_BITS = 64
_MOST_HOPS = 20
_FORWARDING = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})

_Address: TypeAlias = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose word about their peer is believed.

    Args:
        entries: networks or addresses, or the word `unix`, as the settings have checked them.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._trusts_sockets = UNIX in entries
        self._networks = [ip_network(entry) for entry in entries if entry != UNIX]

    def trusts(self, peer: str | None) -> bool:
        """Whether a peer is one of them; None is a peer on a UNIX socket."""
        address = _parse(peer) if peer is not None else None
        return self._trusts_sockets if peer is None else address is not None and self._knows(address)

    def client(self, peer: str | None, forwarded: Iterable[str]) -> str:
        """Return the client's address.

        Args:
            peer: the address at the other end of the connection; None if that is a UNIX socket.
            forwarded: the values of all X-Forwarded-For headers, in their order.

        Returns:
            An IPv4 address, an IPv6 address (shortened, without zone), or `unix`.
        """
        if not self.trusts(peer):
            return _text(peer)
        found = _text(peer)
        for entry in _from_the_right(",".join(forwarded)):
            address = _parse(entry)
            if address is None:  # not what a proxy of ours writes: nothing left of it can be believed
                break
            found = str(address)
            if not self._knows(address):
                break
        return found

    def _knows(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def client_address(scope: "Scope", proxies: TrustedProxies) -> str:
    """Return the address of a request's client (ASGI specification, HTTP connection scope)."""
    peer = scope.get("client")
    forwarded = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
    return proxies.client(peer[0] if peer else None, forwarded)


def came_through_proxy(scope: "Scope", proxies: TrustedProxies) -> bool:
    """Whether a request came from outside: through a proxy of ours, or one that we were not told of."""
    peer = scope.get("client")
    forwarded = any(name in _FORWARDING for name, _ in scope["headers"])
    return forwarded or proxies.trusts(peer[0] if peer else None)


def network_of(address: str) -> str:
    """Return what limits count a client address as: an IPv6 address as its /64, all of which one customer can use."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _CLIENT_PREFIX_BITS), strict=False))
    return str(parsed or address)


def _from_the_right(entries: str) -> Iterable[str]:
    for _ in range(_MOST_HOPS):
        entries, _, last = entries.rpartition(",")
        if last.strip():  # RFC 9110, section 5.6.1: empty elements of a list are to be ignored
            yield last.strip()
        if not entries:
            return


def _parse(text: str) -> _Address | None:
    """Read an address with or without a port, in brackets or not; None if it is none."""
    host = text
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # ::ffff:192.0.2.1 is how a socket for both kinds shows an IPv4 peer.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _text(peer: str | None) -> str:
    return UNIX if peer is None else str(_parse(peer) or peer)
