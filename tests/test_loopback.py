"""Tests of voxrec.loopback."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.loopback import is_loopback_address, is_loopback_host


class LoopbackTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for address in ("127.0.0.1", "127.255.0.3", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(is_loopback_address(address), address)
            self.assertTrue(is_loopback_host(address), address)

    def test_names(self) -> None:
        for name in ("localhost", "LOCALHOST", "localhost.", "relay.localhost"):
            self.assertTrue(is_loopback_host(name), name)
            self.assertFalse(is_loopback_address(name), name)

    def test_other_hosts(self) -> None:
        for host in (
            "",
            "192.0.2.1",
            "::",
            "fe80::1%lo",
            "::ffff:192.0.2.1",
            "relay.example",
            "localhost.example",
            "notlocalhost",
            "127.0.0.1.example",
            "2130706433",
        ):
            self.assertFalse(is_loopback_host(host), host)
