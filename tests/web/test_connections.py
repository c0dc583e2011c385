"""Tests of voxrec.web.connections: which connection is closed when there are too many."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.connections import (
    LOCAL,
    RESERVED_CONNECTIONS,
    Admission,
    ConnectionLimits,
    Connections,
    ConnectionState,
)


class FakeConnection:
    def __init__(self, source: str, state: ConnectionState = ConnectionState.RECEIVING_HEAD) -> None:
        self.source = source
        self.state = state
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def check_deadline(self, now: float) -> None:
        pass


class ConnectionsTests(SynchronousTestCase):
    def open(
        self, connections: Connections, source: str, state: ConnectionState = ConnectionState.RECEIVING_HEAD
    ) -> FakeConnection:
        """Open a connection, which must be granted."""
        connection = FakeConnection(source, state)
        self.assertIs(connections.open(connection), Admission.GRANTED)
        return connection

    def test_the_oldest_incomplete_one_of_the_address_gives_way(self) -> None:
        connections = Connections(ConnectionLimits(10, 3))
        other = self.open(connections, "other")
        responding = self.open(connections, "a", ConnectionState.RESPONDING)
        idle = self.open(connections, "a", ConnectionState.IDLE)
        body = self.open(connections, "a", ConnectionState.RECEIVING_BODY)
        self.open(connections, "a", ConnectionState.RESPONDING)
        self.assertEqual([each.aborted for each in (other, responding, idle, body)], [False, False, False, True])
        self.open(connections, "a", ConnectionState.RESPONDING)
        self.assertTrue(idle.aborted)
        self.assertEqual(len(connections), 4)

    def test_the_client_with_most_connections_gives_way(self) -> None:
        connections = Connections(ConnectionLimits(4, 0))
        single = self.open(connections, "single")
        many = [self.open(connections, "many") for _ in range(3)]
        for _ in range(2):
            self.open(connections, "new", ConnectionState.RESPONDING)
        self.assertEqual([each.aborted for each in (single, *many)], [False, True, True, False])

    def test_reserved_connections(self) -> None:
        connections = Connections(ConnectionLimits(1, 0))
        self.open(connections, "a", ConnectionState.RESPONDING)
        reserved = [FakeConnection("b") for _ in range(RESERVED_CONNECTIONS + 1)]
        self.assertEqual({connections.open(each) for each in reserved}, {Admission.RESERVED})
        self.assertEqual([each.aborted for each in reserved], [True] + [False] * RESERVED_CONNECTIONS)
        for each in reserved:
            each.state = ConnectionState.RESPONDING
        self.assertIs(connections.open(FakeConnection("b")), Admission.REFUSED)
        self.assertEqual(len(connections), RESERVED_CONNECTIONS + 1)
        for each in reserved:
            connections.close(each)
        self.assertEqual(len(connections), 1)

    def test_clients_of_a_unix_socket_have_no_address(self) -> None:
        connections = Connections(ConnectionLimits(10, 1))
        for _ in range(5):
            self.open(connections, LOCAL)
        self.assertEqual(len([*connections]), 5)

    def test_connections_are_closed_once(self) -> None:
        connections = Connections(ConnectionLimits(10, 5))
        first, second = self.open(connections, "a"), self.open(connections, "a")
        for _ in range(2):
            connections.close(first)
        self.assertEqual([*connections], [second])
