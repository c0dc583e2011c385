"""Tests of voxrec.sandbox.phone_commands: what is written at one end is read at the other."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.phone_commands import Consult, Dial, Join, Order, Reinvite, Transfer, decode_order, encode_order


class Orders(SynchronousTestCase):
    def test_each_is_one_line_and_is_read_as_it_was_written(self) -> None:
        orders: tuple[Order, ...] = (
            Reinvite(),
            Reinvite("inactive"),
            Dial("*12#"),
            Transfer("sip:third@127.0.0.1"),
            Consult("sip:third@127.0.0.1"),
            Join(),
        )
        for order in orders:
            line = encode_order(order)
            self.assertNotIn("\n", line)
            self.assertEqual(decode_order(line), order)

    def test_how_a_line_looks(self) -> None:
        self.assertEqual(encode_order(Dial("*1")), '{"do":"dial","digits":"*1"}')

    def test_what_is_no_order_is_refused(self) -> None:
        for line in ("", "hold", '{"do":"sing"}', '{"do":"reinvite","direction":"both"}', '{"do":"transfer"}'):
            self.assertRaises(msgspec.DecodeError, decode_order, line)
