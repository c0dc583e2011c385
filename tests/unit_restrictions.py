"""The restrictions of systemd/voxrec.service that can be applied to a process without systemd.

``UMask``, ``NoNewPrivileges`` and ``SystemCallFilter`` are set as systemd sets them. ``MemoryDenyWriteExecute``, if the
unit has it, is the kernel's PR_SET_MDWE (prctl(2)), which systemd uses where it can.
"""

import configparser
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from unittest import SkipTest

_UNIT: Final = Path(__file__).parents[1] / "systemd" / "voxrec.service"
# Numbers of system calls on x86_64, in the order of the lists that `systemd-analyze syscall-filter` prints.
RESOURCES: Final = (251, 237, 203, 314, 144, 142, 238, 141, 160, 256, 279)
"""@resources, where migrate_pages and move_pages come last."""
PRIVILEGED: Final = (
    *(92, 93, 260, 94),  # @chown: chown, fchown, fchownat, lchown
    *(159, 305, 227, 164),  # @clock: adjtimex, clock_adjtime, clock_settime, settimeofday
    *(176, 313, 175),  # @module: delete_module, finit_module, init_module
    *(173, 172, 169, 246, 320, 168, 167),  # @raw-io, @reboot, @swap: ioperm, iopl, reboot, kexec_*, swapoff, swapon
    *(163, 321, 126, 161, 300, 301, 304, 155, 179, 443),  # acct, bpf, capset, chroot, fanotify_* to quotactl_fd
    *(171, 122, 116, 170, 117, 113, 105, 153),  # setdomainname, setfsuid to vhangup
)
"""@privileged."""

# PR_SET_NO_NEW_PRIVS (38), PR_SET_SECCOMP (22), PR_SET_MDWE (65): linux/prctl.h. A kernel before 6.3 fails here.
_RESTRICT: Final = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def prctl(*arguments):
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")
if sys.argv[3] == "yes":
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
os.execvp(sys.argv[4], sys.argv[4:])
"""


def restricted(command: Sequence[str], refused: Iterable[int]) -> list[str]:
    """Return ``command`` with the restrictions; ``refused`` are the numbers of system calls that fail with EPERM.

    Raises SkipTest on other processors than x86_64.
    """
    if platform.machine() != "x86_64":
        raise SkipTest("the numbers of system calls are those of x86_64")
    unit = configparser.RawConfigParser(strict=False)
    unit.read(_UNIT)
    service = unit["Service"]
    options = (",".join(map(str, refused)), service["UMask"], service.get("MemoryDenyWriteExecute", "no"))
    return [sys.executable, "-c", _RESTRICT, *options, *command]
