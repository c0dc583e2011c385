"""The versions of Asterisk from which on it has a capability that it does not report."""

import re
from collections.abc import Mapping
from typing import Final

# The releases of each branch from which on PJSIPHangup exists. Branches that are not listed ended before them, or have
# had it from their beginning.
WITH_PJSIP_HANGUP: Final[Mapping[int, int]] = {18: 21, 20: 6, 21: 1}
# Those from which on a command wakes a channel that is in no bridge (`exec_command_on_condition`, stasis/control.c).
WITH_WAKE_UP: Final[Mapping[int, int]] = {18: 25, 20: 10, 21: 5}
# Those from which on the packages of Debian contain 2016_opus_plc.patch.
WITH_DEBIAN_PATCH: Final[Mapping[int, int]] = {20: 6}
# Those from which on a snoop of a channel that has hung up fails; before, Asterisk ends (`publish_chanspy_message` in
# res_stasis_snoop.c).
WITH_SAFE_SNOOPS: Final[Mapping[int, int]] = {18: 17, 20: 2}


def is_debian(version: str) -> bool:
    """Return whether a version such as ``22.10.1~dfsg+~cs6.17.60671434`` is that of a package of Debian or Ubuntu."""
    return "dfsg" in version


def predates(version: str, releases: Mapping[int, int]) -> bool:
    """Return whether a version such as ``16.28.0~dfsg`` or ``certified-20.7-cert1`` is older than ``releases``.

    ``releases`` maps each branch to the release; other branches are older than all of them, or newer. A version without
    numbers, such as a development version, counts as recent.
    """
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None:
        return False
    branch, release = int(found[1]), int(found[2])
    return release < releases[branch] if branch in releases else branch < max(releases)
