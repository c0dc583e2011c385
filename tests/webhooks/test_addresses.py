"""Tests of voxrec.webhooks.addresses."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.webhooks.addresses import AddressPolicy

PUBLIC = ("93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "2002:5db8:d822::1", "::ffff:93.184.216.34")
SPECIAL = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - nothing listens on it
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible
    "::ffff:127.0.0.1",  # IPv4-mapped
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",  # NAT64
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",  # local NAT64
    "2002:7f00:1::1",  # 6to4
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:db8::1",
    "3fff::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800:220:1::1%eth0",
    "fec0::1",
    "fd00::1",
    "ff02::1",
)
INVALID = ("", "localhost", "2130706433", "0x7f.0.0.1", "127.1", "1.2.3.4.5")


class AddressPolicyTests(SynchronousTestCase):
    def test_public_addresses_are_permitted(self) -> None:
        policy = AddressPolicy()
        self.assertEqual([address for address in PUBLIC if not policy.permits(address)], [])

    def test_special_addresses_and_those_that_lead_to_them_are_not(self) -> None:
        policy = AddressPolicy()
        self.assertEqual([address for address in SPECIAL if policy.permits(address)], [])

    def test_what_is_no_address_is_not(self) -> None:
        policy = AddressPolicy(["0.0.0.0/0", "::/0"])
        self.assertEqual([address for address in INVALID if policy.permits(address)], [])

    def test_allowed_networks(self) -> None:
        policy = AddressPolicy(["10.1.0.0/16", "fd00:1::/32"])
        permitted = ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00:1::1", "93.184.216.34"]
        self.assertEqual([address for address in permitted if not policy.permits(address)], [])
        self.assertEqual([address for address in ("10.2.0.1", "fd00:2::1", "127.0.0.1") if policy.permits(address)], [])
