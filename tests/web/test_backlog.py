"""What the kernel keeps of a live stream."""

import socket
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.backlog import limit_backlog


class BacklogTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                limit_backlog(SimpleNamespace(socket=connection), 15)
                self.assertEqual(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 15000)
                self.assertEqual(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), 16384)

    def test_what_is_not_tcp(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            limit_backlog(SimpleNamespace(socket=connection), 15)
        limit_backlog(object(), 15)
