"""A root file system with Debian's Asterisk, built without the patch that drops late packets (docs/limitations.md).

``python -m voxrec.sandbox.rebuilt_asterisk`` builds it and prints its path: VOXREC_ASTERISK=path makes the sandbox, the
live tests and the benchmarks use it.
"""

import sys
from typing import Final

from voxrec.sandbox.asterisk import snippets_directory
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, ensure_rootfs

# The packages that the build needs are removed afterwards.
_COMMANDS: Final = """\
set -eu
sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/sources.list
mkdir /root/packages
cat > /root/build-without-opus-plc <<'END OF SCRIPT'
{script}
END OF SCRIPT
echo 'APT::Get::Build-Dep-Automatic "true";' > /etc/apt/apt.conf.d/build-dependencies
sh /root/build-without-opus-plc /root/packages
apt-get install --yes --allow-downgrades /root/packages/*.deb
apt-get purge --yes --autoremove build-essential
rm -rf /root/packages /root/build-without-opus-plc /etc/apt/apt.conf.d/build-dependencies
"""


def rebuilt_asterisk_22() -> Recipe:
    """Return the recipe: the Asterisk of `ASTERISK_22`, rebuilt by ``etc/asterisk/build-without-opus-plc``.

    The build takes 15 minutes on two processors; a change of comments causes none. Raises SandboxError if the script is
    missing.
    """
    lines = (snippets_directory() / "build-without-opus-plc").read_text().splitlines(keepends=True)
    script = "".join(line for line in lines if not line.startswith("#"))
    return Recipe("asterisk-22-noplc", ASTERISK_22.suite, ASTERISK_22.packages, _COMMANDS.format(script=script))


def main() -> None:
    """Build it unless the cache has it, and print its path."""
    try:
        print(ensure_rootfs(rebuilt_asterisk_22(), lambda line: print(line, file=sys.stderr, flush=True)))
    except SandboxError as error:
        sys.exit(error.detail)


if __name__ == "__main__":
    main()
