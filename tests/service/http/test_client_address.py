from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.http.client_address import TrustedProxies, client_address, network_of

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])

outsiders = st.ip_addresses().map(str).filter(lambda text: not PROXIES.trusts(text) and not _is_mapped(text))
insiders = st.ip_addresses(network=ip_network("10.0.0.0/8")).map(str) | st.ip_addresses(
    network=ip_network("fd00::/8")
).map(str)
words = st.text(st.characters(codec="latin-1", exclude_characters=","), max_size=40)


def _is_mapped(text: str) -> bool:
    address = ip_address(text)
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def spelled(address: str, port: int | None) -> str:
    """An address as some proxy may write it."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@given(peer=outsiders, forwarded=st.lists(words))
def test_a_stranger_is_not_believed(peer: str, forwarded: list[str]) -> None:
    assert PROXIES.client(peer, forwarded) == peer


@given(
    lies=st.lists(words | st.ip_addresses().map(str)),
    client=outsiders,
    hops=st.lists(insiders, max_size=5),
    peer=insiders,
    port=st.none() | st.integers(0, 65535),
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_whatever_stands_left_of_it(
    lies: list[str], client: str, hops: list[str], peer: str, port: int | None
) -> None:
    forwarded = [*lies, spelled(client, port), *(spelled(hop, port) for hop in hops)]
    assert PROXIES.client(peer, [", ".join(forwarded)]) == client
    assert PROXIES.client(peer, forwarded) == client, "one header each is the same list"


@given(peer=insiders, nonsense=words, hop=insiders)
def test_what_is_no_address_ends_what_can_be_believed(peer: str, nonsense: str, hop: str) -> None:
    assume(nonsense.strip())
    assume(PROXIES.client(peer, [nonsense]) == peer)  # it is no address
    assert PROXIES.client(peer, [f"198.51.100.1, {nonsense}, {hop}"]) == hop
    assert PROXIES.client(peer, [f"198.51.100.1, {nonsense}"]) == peer


@given(peer=st.none() | st.text(max_size=50), forwarded=st.lists(st.text(max_size=50)))
def test_nothing_raises(peer: str | None, forwarded: list[str]) -> None:
    for proxies in (PROXIES, TrustedProxies([]), TrustedProxies(["unix", "0.0.0.0/0", "::/0"])):
        network_of(proxies.client(peer, forwarded))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([", ,"], "10.0.0.1"),
        (["198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1,"], "198.51.100.1"),
        (["198.51.100.1 , 10.1.1.1"], "198.51.100.1"),
        (["198.51.100.1", "10.1.1.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1, 192.0.2.7"], "198.51.100.1"),
        (["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["::ffff:10.9.9.9"], "10.9.9.9"),
        (["unknown"], "10.0.0.1"),
        (["_hidden"], "10.0.0.1"),
        (["198.51.100.1:http"], "10.0.0.1"),
        (["198.51.100.1:8٤"], "10.0.0.1"),
        (["[2001:db8::1"], "10.0.0.1"),
        (["[2001:db8::1]x"], "10.0.0.1"),
        (["198.51.100.999"], "10.0.0.1"),
        (["0198.51.100.1"], "10.0.0.1"),
    ],
)
def test_forwarding_headers_of_a_proxy(forwarded: list[str], client: str) -> None:
    assert PROXIES.client("10.0.0.1", forwarded) == client


def test_a_list_without_end_is_read_from_the_right_only() -> None:
    many = "198.51.100.1, " + "10.0.0.2, " * 100_000
    assert PROXIES.client("10.0.0.1", [many]) == "10.0.0.2"


def test_a_peer_on_a_socket_is_believed_only_if_configured() -> None:
    forwarded = ["198.51.100.1"]
    assert TrustedProxies(["0.0.0.0/0", "::/0"]).client(None, forwarded) == "unix"
    assert TrustedProxies(["unix"]).client(None, forwarded) == "198.51.100.1"
    assert TrustedProxies(["unix"]).client(None, []) == "unix"
    assert TrustedProxies(["unix"]).client("10.0.0.1", forwarded) == "10.0.0.1"


def test_a_request_is_read() -> None:
    headers = [(b"host", b"api"), (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"198.51.100.1, 10.0.0.2")]
    assert client_address({"client": ("10.0.0.1", 80), "headers": headers}, PROXIES) == "198.51.100.1"
    assert client_address({"client": ("198.51.100.9", 80), "headers": headers}, PROXIES) == "198.51.100.9"
    assert client_address({"client": None, "headers": headers}, PROXIES) == "unix"
    assert client_address({"client": ("10.0.0.1", 80), "headers": [(b"x-forwarded-for", b"\xff\x00")]}, PROXIES) == (
        "10.0.0.1"
    )


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_limits_see_one_client_in_a_64(address: IPv6Address, host: int) -> None:
    assume(address.ipv4_mapped is None)
    network = IPv6Network((address, 64), strict=False)
    assume(network[host].ipv4_mapped is None)
    assert network_of(str(network[host])) == network_of(str(address)) == str(network)


@given(st.ip_addresses(v=4).map(str))
def test_limits_see_each_ipv4_address(address: str) -> None:
    assert network_of(address) == network_of(f"::ffff:{address}") == address
    assert network_of("unix") == "unix"
