"""Tests of voxrec.calls.channels.ids."""

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.channels.ids import is_leg, leg_number, leg_role, owned_id, owner_of

CALL = UUID("10000000-0000-4000-8000-000000000009")


class IdTests(SynchronousTestCase):
    def test_owner_of_an_id(self) -> None:
        for role in ("leg", "leg2", "bridge", "beep-17"):
            self.assertEqual(owner_of(owned_id(CALL, role)), (CALL, role))

    def test_other_ids_have_no_owner(self) -> None:
        for other in ("", "voxrec", "voxrec-", "1700.1", f"other-{CALL}-leg", f"voxrec-{CALL}", "voxrec-nonsense-leg"):
            self.assertIsNone(owner_of(other), other)

    def test_legs(self) -> None:
        self.assertEqual([leg_role(number) for number in (1, 2, 10)], ["leg", "leg2", "leg10"])
        for number in (1, 2, 10):
            self.assertEqual(leg_number(owned_id(CALL, leg_role(number))), number)
        for role in ("legx", "bridge", "leg-2", ""):
            self.assertFalse(is_leg(role), role)
            self.assertEqual(leg_number(owned_id(CALL, role)), 0)
