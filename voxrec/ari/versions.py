"""The versions of Asterisk that have a capability or a fault that it does not report."""

import re
from collections.abc import Mapping
from typing import Final

# The releases of each branch from which on PJSIPHangup exists. Branches that are not listed ended before them, or have
# had it from their beginning.
WITH_PJSIP_HANGUP: Final[Mapping[int, int]] = {18: 21, 20: 6, 21: 1}
# Those from which on a command wakes a channel that is in no bridge (`exec_command_on_condition`, stasis/control.c).
WITH_WAKE_UP: Final[Mapping[int, int]] = {18: 25, 20: 10, 21: 5}
# Those from which on the packages of Debian contain 2016_opus_plc.patch.
_WITH_OPUS_PLC: Final[Mapping[int, int]] = {20: 6}
# In the version of a package that etc/asterisk/build-without-opus-plc has built without this patch.
_WITHOUT_OPUS_PLC: Final = "noplc"
# Those from which on a snoop of a channel that has hung up fails; before, Asterisk ends (`publish_chanspy_message` in
# res_stasis_snoop.c).
WITH_SAFE_SNOOPS: Final[Mapping[int, int]] = {18: 17, 20: 2}


def drops_late_audio(version: str) -> bool:
    """Return whether decoders drop audio whose RTP sequence number is not later than the last one, modulo 65,536.

    Those of Debian's and Ubuntu's packages do, such as ``22.10.1+dfsg+~cs6.17.60671434-1``, because of their patch
    2016_opus_plc.patch (docs/asterisk.md).
    """
    return "dfsg" in version and not predates(version, _WITH_OPUS_PLC) and _WITHOUT_OPUS_PLC not in version


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
