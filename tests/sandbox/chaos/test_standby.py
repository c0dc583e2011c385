"""Tests of voxrec.sandbox.chaos.standby."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.standby import Role


class RoleTests(SynchronousTestCase):
    def test_the_last_message_counts_and_earlier_processes_do_not(self) -> None:
        log = Path(self.mktemp())
        self.assertEqual(self.role(Role(log)), (False, False))
        log.write_text("connected to Asterisk 22\n")
        role = Role(log)
        for message, expected in (
            ("", (False, False)),
            ("voxrec has started\n", (False, False)),
            ("standing by: another voxrec has the Stasis application\n", (True, False)),
            ("connected to Asterisk 22\n", (True, True)),
            ("standing by: another voxrec has the Stasis application\n", (True, False)),
        ):
            with log.open("a") as file:
                file.write(message)
            self.assertEqual(self.role(role), expected, message)

    def role(self, role: Role) -> tuple[bool, bool]:
        return role.is_known, role.is_active
