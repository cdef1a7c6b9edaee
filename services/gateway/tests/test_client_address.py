from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.client_address import client_address


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("testclient", 1), "local"),
        (("", 0), "local"),
        (None, "local"),
    ],
)
def test_an_address_is_what_one_customer_has(client: tuple[str, int] | None, address: str) -> None:
    assert client_address({"client": client}) == address


@given(st.text(max_size=60))
def test_no_host_fails(host: str) -> None:
    assert client_address({"client": (host, 1)})
