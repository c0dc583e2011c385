"""The announcement files that Asterisk plays, in a directory that Asterisk and voxrec share."""

import os
import re
import stat
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.audio.convert import convert_for_playback
from voxrec.deferreds import Backoff, SingleFlight, retry
from voxrec.errors import NotFound, Unavailable, VoxrecError
from voxrec.files import make_directory
from voxrec.model import Profile, Prompt, RecordPrompt
from voxrec.threads import DeferToThread

DEFAULT = "announcement"
# Asterisk's file name extension for PCM at each sampling rate (format_wav); it plays the file that suits the call.
_RATES: Final = {"wav": 8000, "wav16": 16000}
_DIRECTORY_MODE: Final = 0o755  # Asterisk runs as another account
_FILE_MODE: Final = 0o644
_FILE_NAME: Final = re.compile(r"prompt-([0-9a-f-]{36})-([0-9a-f]{16})")
_RETRY: Final = Backoff(first=5.0, limit=5.0, jitter=0.0)
_CLEAN_UP_INTERVAL: Final = 60.0  # seconds


class SoundsUnavailable(Unavailable):
    """The directory of announcement files cannot be read or written."""

    code = "sounds-unavailable"


class Audio(Protocol):
    """A Prompt's audio as it was uploaded."""

    @property
    def sha256(self) -> str:
        """The SHA-256 digest of ``content``, in hexadecimal."""

    @property
    def content(self) -> bytes:
        """The uploaded file."""


class Prompts(Protocol):
    """The repository of Prompts."""

    async def all(self) -> list[Prompt]:
        """Return every Prompt."""

    async def audio(self, prompt_id: UUID, /) -> Audio:
        """Return the audio of one Prompt. Raises NotFound if there is none."""


class _Sound(NamedTuple):
    """One version of a Prompt's audio. Every upload is a new file, so that no file changes while it is played."""

    prompt_id: str
    version: str

    @property
    def name(self) -> str:
        return f"prompt-{self.prompt_id}-{self.version}"


class Announcements(Service):
    """Keeps the announcement files in Asterisk's directory equal to the Prompts, and names a Profile's announcement.

    Connect `prompt_changed` to PROMPTS_CHANNEL of a Listener and `reload` to its ``on_recovered``. A file that is no
    longer needed is removed after ``grace`` seconds: a call that began before may still play it, on this daemon or on
    another one that shares the directory. Asterisk keeps open what it is playing.
    """

    name = "announcements"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        prompts: Prompts,
        directory: Path,
        defer_to_thread: DeferToThread,
        *,
        default: str,
        in_asterisk: str,
        grace: float,
    ) -> None:
        """``default`` is the media URI for ``recordPrompt: default``; ``in_asterisk`` is ``directory`` as in a URI."""
        self._clock = clock
        self._prompts = prompts
        self._directory = directory
        self._defer_to_thread = defer_to_thread
        self.default = default
        self._in_asterisk = in_asterisk
        self._grace = grace
        self._playable: dict[str, _Sound] = {}
        self._obsolete_since: dict[_Sound, float] = {}
        self._refresh = SingleFlight(self._refresh_files, self._refresh_failed)
        self._clean_up = LoopingCall(self._remove_obsolete)
        self._clean_up.clock = clock

    def media_for(self, profile: Profile) -> str | None:
        """Return the ARI media URI of a Profile's announcement; None if it cannot be played."""
        if profile.record_prompt is not RecordPrompt.CUSTOM:
            return self.default
        sound = self._playable.get(str(profile.record_prompt_custom_id))
        return None if sound is None else f"sound:{self._in_asterisk}/{sound.name}"

    def set_default(self, default: str, *, grace: float) -> None:
        """Change the media URI for ``recordPrompt: default``, and the seconds for which obsolete files are kept."""
        self.default = default
        self._grace = grace

    def startService(self) -> Deferred[None]:
        """Install the default announcement and find the files of earlier runs, which do not need PostgreSQL."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._defer_to_thread(install_default, self._directory)
            self._playable = {sound.prompt_id: sound for sound in await self._defer_to_thread(_list, self._directory)}
        except VoxrecError as error:
            self._log.error("announcements are not available yet: {error}", error=error)
        self._clean_up.start(_CLEAN_UP_INTERVAL, now=False)

    def stopService(self) -> None:
        """Stop updating the files."""
        super().stopService()
        if self._clean_up.running:
            self._clean_up.stop()
        self._refresh.cancel()

    def prompt_changed(self, _prompt_id: str) -> None:
        """Update the files because a Prompt was created, changed or deleted."""
        self._refresh.request()

    def reload(self) -> None:
        """Update the files because notifications may have been missed."""
        self._refresh.request()

    def _remove_obsolete(self) -> None:
        if self._obsolete_since:
            self._refresh.request()

    def _refresh_failed(self, failure: Failure) -> None:
        self._log.failure("announcements could not be updated", failure)

    async def _refresh_files(self) -> None:
        await retry(
            self._clock,
            self._synchronize,
            on=VoxrecError,
            backoff=_RETRY,
            report=lambda error, delay: self._log.warn(
                "announcements could not be updated: {error}; retrying in {delay:g} s", error=error, delay=delay
            ),
        )

    async def _synchronize(self) -> None:
        await self._defer_to_thread(install_default, self._directory)
        prompts = await self._prompts.all()
        installed = set(await self._defer_to_thread(_list, self._directory))
        required = {_Sound(str(prompt.id), prompt.sha256[:16]) for prompt in prompts if prompt.sha256 is not None}
        for sound in required:
            if sound in installed or await self._install(sound):
                self._playable[sound.prompt_id] = sound
        await self._expire(installed - required)

    async def _install(self, sound: _Sound) -> bool:
        try:
            audio = await self._prompts.audio(UUID(sound.prompt_id))
        except NotFound:
            return False  # it was deleted meanwhile, and the notification of that is on its way
        if not audio.sha256.startswith(sound.version):
            self._refresh.request()  # it was replaced meanwhile
            return False
        try:
            await self._defer_to_thread(_write_files, self._directory, sound, audio.content)
        except SoundsUnavailable:
            raise
        except VoxrecError as error:
            self._log.error("Prompt {id} cannot be played: {error}", id=sound.prompt_id, error=error)
            return False
        self._log.info("announcement {name} is installed", name=sound.name)
        return True

    async def _expire(self, obsolete: set[_Sound]) -> None:
        now = self._clock.seconds()
        self._obsolete_since = {sound: self._obsolete_since.get(sound, now) for sound in obsolete}
        expired = [sound for sound, since in self._obsolete_since.items() if now - since >= self._grace]
        for sound in expired:
            del self._obsolete_since[sound]
            if self._playable.get(sound.prompt_id) == sound:
                del self._playable[sound.prompt_id]
        await self._defer_to_thread(_remove_files, self._directory, expired)


def install_default(directory: Path) -> None:
    """Write the default announcement ("This call is being recorded.") into ``directory``, atomically.

    Blocks: run it in a thread. Raises SoundsUnavailable if the file cannot be written.
    """
    sound = resources.files("voxrec.calls.announcements").joinpath("sounds", f"{DEFAULT}.wav").read_bytes()
    target = directory / f"{DEFAULT}.wav"
    try:
        _prepare(directory)
        if target.is_file() and target.read_bytes() == sound:
            return
        _write_atomically(target, lambda temporary: temporary.write_bytes(sound))
    except OSError as error:
        raise SoundsUnavailable(f"cannot write the default announcement into {directory}: {error}") from error


def _write_files(directory: Path, sound: _Sound, content: bytes) -> None:
    """Write one announcement at each sampling rate. Raises AudioFault or SoundsUnavailable."""
    try:
        _prepare(directory)
        with tempfile.NamedTemporaryFile() as upload:
            upload.write(content)
            upload.flush()
            source = Path(upload.name)
            # `_list` looks for the .wav file, which therefore comes last
            for extension, rate in sorted(_RATES.items(), reverse=True):
                target = directory / f"{sound.name}.{extension}"
                _write_atomically(target, lambda temporary, rate=rate: convert_for_playback(source, temporary, rate))  # type: ignore[misc]
    except OSError as error:
        raise SoundsUnavailable(f"cannot write an announcement into {directory}: {error}") from error


def explain_unreadable(directory: Path) -> str:
    """Return why another account on this host cannot read the default announcement. Blocks: run it in a thread."""
    path = directory / f"{DEFAULT}.wav"
    try:
        for parent in reversed(path.absolute().parents):
            if not parent.stat().st_mode & stat.S_IXOTH:
                return f"other accounts may not enter {parent}; if Asterisk is not in its group, run chmod o+x {parent}"
        if not path.stat().st_mode & stat.S_IROTH:
            return f"other accounts may not read {path}; if Asterisk is not in its group, run chmod o+r {path}"
    except OSError as error:
        return f"{error}"
    return f"{path} is readable; check asterisk.sounds_in_asterisk, and calls.announcement if it is set"


def _prepare(directory: Path) -> None:
    """Create the directory, and let other accounts read it and its announcements, whatever the umask is or was.

    The modes of what belongs to another account or group were chosen by an administrator, and are not changed.
    """
    make_directory(directory, _DIRECTORY_MODE)
    _add_permissions(directory, _DIRECTORY_MODE)
    for path in (*directory.glob(f"{DEFAULT}.wav"), *directory.glob("prompt-*")):
        _add_permissions(path, _FILE_MODE)


def _add_permissions(path: Path, mode: int) -> None:
    status = path.lstat()
    ours = (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()) and not stat.S_ISLNK(status.st_mode)
    if ours and status.st_mode & mode != mode:
        path.chmod(stat.S_IMODE(status.st_mode) | mode)


def _write_atomically(target: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(prefix=".", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(_FILE_MODE)
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _list(directory: Path) -> list[_Sound]:
    """Return the announcements in ``directory``, the newest last. Raises SoundsUnavailable."""
    try:
        files = sorted((path.stat().st_mtime, path.stem) for path in directory.glob("prompt-*.wav"))
    except OSError as error:
        raise SoundsUnavailable(f"cannot read the announcements in {directory}: {error}") from error
    return [_Sound(match[1], match[2]) for _, stem in files if (match := _FILE_NAME.fullmatch(stem))]


def _remove_files(directory: Path, sounds: list[_Sound]) -> None:
    try:
        for sound in sounds:
            for extension in sorted(_RATES):
                (directory / f"{sound.name}.{extension}").unlink(missing_ok=True)
    except OSError as error:
        raise SoundsUnavailable(f"cannot remove announcements from {directory}: {error}") from error
