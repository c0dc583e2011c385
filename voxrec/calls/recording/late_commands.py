"""Finds out what commands without a response have done, and corrects it: they may be executed late.

A MixMonitor that is started late has no files, because the directory of its session was revoked
(`voxrec.calls.recording.session_directory`). It is stopped.
"""

from contextlib import suppress

from voxrec.calls.recording.monitor_core import MonitorCore, may_be_executed
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.errors import CommandNotSent, VoxrecError
from voxrec.model import Side


async def verify(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Find out whether a MixMonitor of a former AMI session writes both files; if not, another one continues."""
    monitor = core.monitor
    if await core.commands.files.written(core.recording.id) == frozenset(Side):
        core.check_later(inputs)
        await _confirm(inputs, core)
        return
    if not core.is_current(monitor):
        return
    with suppress(VoxrecError):  # it could not open them, or not both
        await core.commands.stop(core.channel, monitor)
    if core.is_current(monitor):
        inputs.interrupted()


async def check(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Correct what a command that was executed late has done, and find out whether Asterisk still records."""
    core.check_later(inputs)
    if core.doubts.to_be_checked:
        try:
            core.doubts.failed_queries = 0 if await _stop_other(core) else core.doubts.failed_queries + 1
        except VoxrecError as error:
            _doubt_if_executed(core, error)
            return
    await _confirm(inputs, core)


async def _confirm(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Tell Asterisk again whether to record silence, and find out whether it still records."""
    monitor = core.monitor
    try:
        recording = await core.commands.set_muted(core.channel, monitor, muted=core.muted)
    except VoxrecError as error:
        _doubt_if_executed(core, error)
        return
    if not core.is_current(monitor):
        return
    if not recording:
        core.report_interruption()
        inputs.interrupted()
    elif not core.doubts.remain:
        core.doubts.checked()
        core.check_timer.cancel()


def _doubt_if_executed(core: MonitorCore, error: VoxrecError) -> None:
    if may_be_executed(error):
        core.doubts.begin()


async def _stop_other(core: MonitorCore) -> bool:
    """Stop a MixMonitor that was started late beside the current one: another process would find it.

    Return False if it is not known whether there is one.
    """
    monitor = core.monitor
    try:
        other = await core.find(core.channel)
    except CommandNotSent:
        return False
    if other not in ("", monitor) and core.is_current(monitor):
        await core.commands.stop(core.channel, other)
        await core.commands.store(core.channel, monitor)
    return True


def watch_strays(core: MonitorCore) -> None:
    """While doubts remain, stop each MixMonitor that is started late, although none is to record."""
    if not core.doubts.remain:
        return

    async def doubts_have_ended() -> bool:
        await stop_stray(core, core.channel)
        return not core.doubts.remain

    core.polling.start(doubts_have_ended, lambda: None)


async def stop_stray(core: MonitorCore, channel: str) -> None:
    """Stop a MixMonitor that was started late while none was to record: it would stay until its channel ends.

    It can have the id of one that has ended: an id is an address in Asterisk's memory, which is used again.
    """
    with suppress(VoxrecError):
        if stray := await core.commands.find(channel):
            await core.commands.stop(channel, stray)
