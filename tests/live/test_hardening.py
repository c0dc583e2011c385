"""A recorded call under restrictions of the systemd unit that can be applied without systemd.

``MemoryDenyWriteExecute`` is the kernel's PR_SET_MDWE (prctl(2)), which systemd uses where it can. ``UMask`` and
``NoNewPrivileges`` are set as systemd sets them. Of ``SystemCallFilter``, the group @resources is refused; not
@privileged, which voxrec needs as root, as here, to run PostgreSQL as another account. They apply to the embedded
PostgreSQL and to all threads as well.
"""

import configparser
import platform
import sys
from pathlib import Path
from typing import Final
from unittest import SkipTest

from tests.live.live_test_case import LiveTestCase, make_new_stack
from tests.test_config import REPOSITORY
from voxrec.sandbox import demo_call
from voxrec.sandbox.stack import Stack

# The numbers of @resources (systemd.exec(5)) on x86_64: sched_setparam, sched_setscheduler, setpriority, setrlimit,
# sched_setaffinity, mbind, set_mempolicy, ioprio_set, migrate_pages, move_pages, sched_setattr.
_RESOURCES: Final = "142,144,141,160,203,237,238,251,256,279,314"
# PR_SET_NO_NEW_PRIVS (38), PR_SET_SECCOMP (22), PR_SET_MDWE (65): linux/prctl.h. A kernel before 6.3 fails here.
_RESTRICT: Final = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def prctl(*arguments):
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")
prctl(65, 1)
prctl(38, 1)
denied = [int(number) for number in sys.argv[1].split(",")]
# load the number of the system call; for each denied one, jump to the last instruction, EPERM; otherwise allow
program = struct.pack("HBBI", 0x20, 0, 0, 0)
for position, number in enumerate(denied):
    program += struct.pack("HBBI", 0x15, len(denied) - position, 0, number)
program += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000) + struct.pack("HBBI", 0x06, 0, 0, 0x00050001)
instructions = ctypes.create_string_buffer(program, len(program))
header = struct.pack("HxxxxxxQ", len(denied) + 3, ctypes.addressof(instructions))
prctl(22, 2, ctypes.c_char_p(header))
os.umask(int(sys.argv[2], 8))
os.execvp(sys.argv[3], sys.argv[3:])
"""


class RestrictedStack(Stack):
    """A stack whose voxrec runs under the restrictions of the unit."""

    def daemon_command(self, config_file: Path) -> list[str]:
        unit = configparser.RawConfigParser(strict=False)
        unit.read(REPOSITORY / "systemd" / "voxrec.service")
        umask = unit["Service"]["UMask"]
        command = super().daemon_command(config_file)
        return [sys.executable, "-c", _RESTRICT, _RESOURCES, umask, *command]


class HardeningTests(LiveTestCase):
    def process_status(self, stack: Stack) -> str:
        return Path(f"/proc/{stack.pid}/status").read_text()

    async def test_a_recorded_call_with_the_embedded_postgresql(self) -> None:
        if platform.machine() != "x86_64":
            raise SkipTest("the numbers of system calls are those of x86_64")
        stack = make_new_stack()
        stack.__class__ = RestrictedStack
        self.addCleanup(stack.stop)
        await stack.start()
        status = self.process_status(stack)
        self.assertIn("NoNewPrivs:\t1", status)
        self.assertIn("Seccomp:\t2", status)
        self.assertIn("Umask:\t0077", status)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordFormat="flac", recordChannels="dual"
        )
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed", recording["verdict"])
        for path in (f"/recordings/{recording['id']}/audio?format=wav", f"/recordings/{recording['id']}/peaks"):
            self.assertEqual((await stack.request("GET", path)).status, 200, path)
        self.assertEqual(stack.count_log_lines("Traceback"), 0, stack.voxrec_log_tail())
