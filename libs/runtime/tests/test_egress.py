"""The guard against request forgery: every spelling, every special address, every second answer."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.runtime.egress import EgressGuard, EgressRefused, Origin, Place, is_global
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, InvalidMessage, Unavailable

SPECIAL = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
)
SPECIAL_V6 = (
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "64:ff9b:1::808:808",
)
GLOBAL = ("8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1", "2a00:1450::1")


def soon() -> Deadline:
    return Deadline.after(5)


class Resolver:
    """Answers with the next list each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0)


@pytest.mark.parametrize("text", [*SPECIAL, *SPECIAL_V6])
def test_a_special_address_is_not_global(text: str) -> None:
    assert not is_global(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", GLOBAL)
def test_an_ordinary_address_is_global(text: str) -> None:
    assert is_global(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", SPECIAL)
@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}", "::{}"])
def test_a_special_address_within_another_is_not_global(text: str, form: str) -> None:
    assert not is_global(ipaddress.ip_address(form.format(text)))


def test_a_public_address_behind_a_translator_is_global() -> None:
    assert is_global(ipaddress.ip_address("64:ff9b::8.8.8.8"))
    assert is_global(ipaddress.ip_address("::ffff:8.8.8.8"))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_private or address.is_loopback or address.is_multicast or address.is_reserved:
        mapped = isinstance(address, ipaddress.IPv6Address) and (
            address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")
        )
        assert mapped or not is_global(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/a",
        "//example.com/a",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "https:/example.com",
        "https:///example.com",
        "https://",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1\\@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com /",
        " https://example.com/",
        "https://exam\tple.com/",
        "https://example.com/\r\nHost: x",
        "https://example.com/a b",
        "https://example.com\x00.evil.com/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://[127.0.0.1]/",
        "https://::1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://example..com/",
        "https://.example.com/",
        "https://-a.com/",
        "https://%6c%6fcalhost/",
        "https://ⓔxample.com/",
        "https://127。0。0。1/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:١/",
        "https://example.com:80:80/",
        "https://example.com:/",
        "https://" + "a" * 64 + ".com/",
        "https://example.com/" + "a" * 5000,
        "https://\ud800.com/",
    ],
)
def test_an_odd_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidMessage):
        Place.of(url)


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("HTTPS://Example.COM", "https://example.com/"),
        ("https://example.com.:443/a", "https://example.com/a"),
        ("https://example.com?a=1#b", "https://example.com/?a=1"),
        ("https://example.com/报告.txt", "https://example.com/%E6%8A%A5%E5%91%8A.txt"),
        ("https://example.com/%2e%2e/a@b?u=http://x", "https://example.com/%2e%2e/a@b?u=http://x"),
        ("https://[2606:4700:0::1]:8443/", "https://[2606:4700::1]:8443/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
    ],
)
def test_an_address_is_written_one_way(url: str, written: str) -> None:
    assert Place.of(url).url == written
    assert Place.of(written).url == written


@given(st.text(max_size=60))
def test_any_host_is_read_one_way_or_refused(text: str) -> None:
    try:
        place = Place.of(f"https://{text}/x")
    except InvalidMessage:
        return

    assert Place.of(place.url) == place
    assert place.url.isascii()
    assert "@" not in place.url.split("/")[2]


@given(st.integers(min_value=0, max_value=2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_no_number_is_a_host(number: int, form: str) -> None:
    with pytest.raises(InvalidMessage):
        Place.of(f"https://{form.format(number)}/")


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://example.com:8443/", "https://example.com:22/"]
)
def test_only_https_at_its_port_is_admitted(url: str) -> None:
    with pytest.raises(EgressRefused):
        EgressGuard().admit(Place.of(url))


async def test_a_name_with_one_private_address_is_refused() -> None:
    guard = EgressGuard(resolve=Resolver(["8.8.8.8", "10.0.0.1"]))

    with pytest.raises(EgressRefused):
        await guard.addresses("example.com", 443, deadline=soon())


async def test_each_connection_checks_what_it_resolved() -> None:
    guard = EgressGuard(resolve=Resolver(["8.8.8.8"], ["127.0.0.1"]))

    first = await guard.addresses("example.com", 443, deadline=soon())

    assert [str(address) for address in first] == ["8.8.8.8"]
    with pytest.raises(EgressRefused):
        await guard.addresses("example.com", 443, deadline=soon())


async def test_addresses_are_not_resolved() -> None:
    resolver = Resolver()
    guard = EgressGuard(resolve=resolver)

    for host in ("127.0.0.1", "::1", "169.254.169.254"):
        with pytest.raises(EgressRefused):
            await guard.addresses(host, 443, deadline=soon())

    assert resolver.asked == []


async def test_the_refusal_does_not_tell_the_address() -> None:
    guard = EgressGuard(resolve=Resolver(["10.11.12.13"]))

    with pytest.raises(EgressRefused) as refused:
        await guard.addresses("intranet.example.com", 443, deadline=soon())

    assert "10.11" not in str(refused.value)


async def test_an_exception_is_for_its_host_and_port_alone() -> None:
    guard = EgressGuard(["127.0.0.1:8080", "[::1]:80"])

    guard.admit(Place.of("http://127.0.0.1:8080/x"))
    assert await guard.addresses("127.0.0.1", 8080, deadline=soon())
    guard.admit(Place.of("http://[::1]/x"))
    with pytest.raises(EgressRefused):
        guard.admit(Place.of("http://127.0.0.1:8081/x"))
    with pytest.raises(EgressRefused):
        await guard.addresses("127.0.0.1", 8081, deadline=soon())
    with pytest.raises(EgressRefused):
        await guard.addresses("127.0.0.2", 8080, deadline=soon())


async def test_a_trusted_origin_is_for_its_scheme_host_and_port_alone() -> None:
    guard, trusted = EgressGuard(), Origin("http", "127.0.0.1", 8080)

    guard.admit(Place.of("http://127.0.0.1:8080/x"), trusted=trusted)
    assert await guard.addresses("127.0.0.1", 8080, deadline=soon(), trusted=trusted)
    with pytest.raises(EgressRefused):
        guard.admit(Place.of("https://127.0.0.1:8080/x"), trusted=trusted)
    with pytest.raises(EgressRefused):
        await guard.addresses("127.0.0.1", 8081, deadline=soon(), trusted=trusted)


@pytest.mark.parametrize("entry", ["", "example.com", "https://a:1", "a:1:2", "*:80", "a b:1"])
def test_an_exception_that_is_no_host_and_port_is_refused(entry: str) -> None:
    with pytest.raises(InvalidMessage):
        EgressGuard([entry])


async def test_a_name_that_does_not_exist_may_exist_later() -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(Unavailable):
        await EgressGuard(resolve=nothing).addresses("example.com", 443, deadline=soon())
    with pytest.raises(Unavailable):
        await EgressGuard(resolve=Resolver([])).addresses("example.com", 443, deadline=soon())
    with pytest.raises(DeadlineExceeded):
        await EgressGuard(resolve=nothing).addresses("a.com", 443, deadline=Deadline.after(-1))


async def test_the_systems_own_loopback_name_is_refused() -> None:
    with pytest.raises(EgressRefused):
        await EgressGuard().addresses("localhost", 443, deadline=soon())
