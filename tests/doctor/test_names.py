"""Tests of voxrec.doctor.names."""

import socket
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from voxrec.config import Config, parse
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.names import check_names

NO_SERVER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class NameTests(SynchronousTestCase):
    def check(self, config: Config, errors: Mapping[str, OSError]) -> dict[str, Finding]:
        """Check names; each other one than those of ``errors`` has an address."""
        self.resolved: list[str] = []

        def resolve(name: str) -> None:
            self.resolved.append(name)
            if name in errors:
                raise errors[name]

        return {finding.check: finding for finding in check_names(config, resolve)}

    def test_the_names_of_the_settings(self) -> None:
        config = parse(
            "{calls: {allowed_hosts: [pbx.example, '*.trunk.example', 192.0.2.1, 10.0.0.0/8, '2001:db8::1']},"
            " mail: {host: relay.example}, s3: {endpoint: 'https://store.example:9000'}}"
        )
        findings = self.check(config, {})
        self.assertEqual(self.resolved, ["pbx.example", "relay.example", "store.example", socket.gethostname()])
        self.assertEqual({each.status for each in findings.values()}, {Status.OK})

    def test_without_names(self) -> None:
        self.assertEqual([*self.check(Config(), {})], ["host name"])

    def test_no_name_server(self) -> None:
        config = parse("{calls: {allowed_hosts: [pbx.example]}, mail: {host: relay.example}}")
        finding = self.check(config, {"pbx.example": NO_SERVER})["DNS"]
        self.assertIs(finding.status, Status.FAILED)
        self.assertIn("pbx.example cannot be resolved: Temporary failure", finding.detail)
        self.assertNotIn("relay.example", self.resolved)  # each name without a server takes ten seconds

    def test_a_name_without_an_address(self) -> None:
        finding = self.check(parse("calls: {allowed_hosts: [sip.example]}"), {"sip.example": NO_NAME})["DNS"]
        self.assertIs(finding.status, Status.OK)

    def test_the_name_of_the_machine(self) -> None:
        finding = self.check(Config(), {socket.gethostname(): NO_NAME})["host name"]
        self.assertIs(finding.status, Status.WARNING)
        self.assertIn(f"127.0.1.1 {socket.gethostname()}", finding.remedy)
