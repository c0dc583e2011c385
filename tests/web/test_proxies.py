"""Tests of voxrec.web.proxies."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.proxies import TrustedProxies

PROXY: Final = "10.0.0.1"
NETWORKS: Final = ("10.0.0.0/8", "2001:db8:1::/48", "unix")
# the header, and the address that follows from it if the peer is PROXY
FORWARDED_FOR: Final = (
    ("", PROXY),
    ("192.0.2.1", "192.0.2.1"),
    ("203.0.113.9, 192.0.2.1", "192.0.2.1"),  # the client sent the first
    ("192.0.2.1, 10.0.0.2", "192.0.2.1"),  # a chain of two proxies
    ("203.0.113.9, 192.0.2.1, 10.0.0.3,10.0.0.2", "192.0.2.1"),
    ("10.0.0.7, 10.0.0.2", "10.0.0.7"),  # a client in the network of the proxies
    ("192.0.2.1:4711", "192.0.2.1"),
    ("[2001:db8::1]:4711", "2001:db8::1"),
    ("2001:DB8::1", "2001:db8::1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("192.0.2.1, 2001:db8:1::5", "192.0.2.1"),
    ("192.0.2.1, unknown", PROXY),
    ("192.0.2.1, ", PROXY),
    ("<script>", PROXY),
    ("192.0.2.1, localhost, 10.0.0.2", "10.0.0.2"),
    ("192.0.2.256", PROXY),
)
FORWARDED: Final = (
    ("", PROXY),
    ("for=192.0.2.1", "192.0.2.1"),
    ('For="192.0.2.1:80";proto=https;by=10.0.0.1', "192.0.2.1"),
    ('by=10.0.0.1; for="[2001:db8::1]:4711"', "2001:db8::1"),
    ("for=203.0.113.9, for=192.0.2.1", "192.0.2.1"),
    ("for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
    ('for="203.0.113.9, for=1.1.1.1", for=192.0.2.1', "192.0.2.1"),
    ("for=unknown", PROXY),
    ("for=_hidden", PROXY),
    ("proto=https", PROXY),
    ('for="192.0.2.1', PROXY),
    ("192.0.2.1", PROXY),
)


class TrustedProxiesTests(SynchronousTestCase):
    def test_x_forwarded_for(self) -> None:
        proxies = TrustedProxies.parse(NETWORKS)
        for value, address in FORWARDED_FOR:
            with subtest(value):
                headers = {"x-forwarded-for": value, "forwarded": "for=198.51.100.1"}
                self.assertEqual(proxies.client_address(PROXY, headers), address)

    def test_forwarded(self) -> None:
        proxies = TrustedProxies.parse(NETWORKS, "forwarded")
        for value, address in FORWARDED:
            with subtest(value):
                headers = {"forwarded": value, "x-forwarded-for": "198.51.100.1"}
                self.assertEqual(proxies.client_address(PROXY, headers), address)

    def test_peer_that_is_not_trusted_chooses_nothing(self) -> None:
        headers = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "forwarded": "for=192.0.2.1"}
        for entries in (NETWORKS, ()):
            for peer in ("198.51.100.1", "2001:db8:2::1"):
                proxies = TrustedProxies.parse(entries)
                self.assertEqual(proxies.client_address(peer, headers), peer)
                self.assertFalse(proxies.is_secure(peer, headers))
        self.assertEqual(TrustedProxies.parse(["10.0.0.1"]).client_address("unix", headers), "unix")

    def test_without_proxies_no_address_is_trusted(self) -> None:
        self.assertFalse(TrustedProxies())
        self.assertFalse(TrustedProxies().trust(PROXY))
        for entries in (["unix"], ["10.0.0.0/8"]):
            self.assertTrue(TrustedProxies.parse(entries))

    def test_unix_socket(self) -> None:
        headers = {"x-forwarded-for": "192.0.2.1"}
        self.assertEqual(TrustedProxies.parse(["unix"]).client_address("unix", headers), "192.0.2.1")

    def test_protocol(self) -> None:
        for header, name, value, secure in (
            ("x-forwarded-for", "x-forwarded-proto", "https", True),
            ("x-forwarded-for", "x-forwarded-proto", "http", False),
            ("x-forwarded-for", "x-forwarded-proto", "https, http", False),
            ("x-forwarded-for", "forwarded", "proto=https", False),
            ("forwarded", "forwarded", "for=192.0.2.1;proto=https", True),
            ("forwarded", "forwarded", "proto=https, for=192.0.2.1", False),
            ("forwarded", "x-forwarded-proto", "https", False),
        ):
            with subtest((header, value)):
                proxies = TrustedProxies.parse(NETWORKS, header)  # type: ignore[arg-type]
                self.assertEqual(proxies.is_secure(PROXY, {name: value}), secure)

    @given(st.text(max_size=100) | st.text(alphabet='for="[]:;,.0123456789abcdef \\', max_size=100))
    def test_arbitrary_header(self, value: str) -> None:
        for header in ("x-forwarded-for", "forwarded"):
            proxies = TrustedProxies.parse(NETWORKS, header)
            self.assertRegex(proxies.client_address(PROXY, {header: value}), r"^[0-9a-f.:]+$")

    def test_long_header(self) -> None:
        self.assertEqual(
            TrustedProxies.parse(NETWORKS).client_address(PROXY, {"x-forwarded-for": "10.0.0.2," * 2000 + "192.0.2.1"}),
            "192.0.2.1",
        )

    def test_invalid_entries(self) -> None:
        for entry in ("10.0.0.1/8", "proxy.example", "", "*"):
            with subtest(entry):
                self.assertRaises(ValueError, TrustedProxies.parse, [entry])
