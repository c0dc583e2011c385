"""Tests of voxrec.composition.gateway. tests/live/test_daemon.py starts and stops the whole daemon."""

from importlib import metadata
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.database import reactor
from voxrec.composition.gateway import build_gateway
from voxrec.config import parse
from voxrec.nodes.membership import Membership


class BuildGatewayTests(SynchronousTestCase):
    def test_the_order_of_the_services(self) -> None:
        """The database starts first and stops last; calls are accepted once everything they need has started."""
        gateway = build_gateway(reactor, parse(f"data_directory: {Path(self.mktemp())}"), "host=/nowhere")
        self.assertEqual(
            [service.name for service in gateway],
            [
                "database",
                "journal",
                "profile cache",
                "webhook names",
                "exports",
                "membership",
                "listener",
                "worker",
                "mail worker",
                "webhook worker",
                "export worker",
                "bulk action worker",
                "housekeeping",
                "retention",
                "orphans",
                "search indexing",
                "event queue",
                "call directory",
                "event listener",
                "event broadcaster",
                "REST audio",
                "REST passwords",
                "REST",
                "announcements",
                "announcement check",
                "AMI connection",
                "calls",
                "disk space",
                "session directory",
                "Stasis session",
                "live listening",
                "orphaned channels",
                "profile snapshot",
                "startup gate",
                "SIP readiness",
            ],
        )

    def test_building_starts_nothing(self) -> None:
        gateway = build_gateway(reactor, parse("calls: {on_stop: end}"), "host=/nowhere")
        self.assertEqual([service.name for service in gateway if service.running], [])
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_a_heartbeat_reads_no_file(self) -> None:
        """The version of the package is in a file that takes the reactor milliseconds to find and parse."""
        version = metadata.version("voxrec")
        gateway = build_gateway(reactor, parse(f"data_directory: {Path(self.mktemp())}"), "host=/nowhere")
        (membership,) = (service for service in gateway if isinstance(service, Membership))
        reads: list[str] = []
        self.patch(metadata, "version", reads.append)
        self.assertEqual(membership._status().version, version)
        self.assertEqual(reads, [])
