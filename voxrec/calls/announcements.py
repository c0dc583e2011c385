"""The announcements, where Asterisk finds them: in a directory that it shares with voxrec."""

import os
import re
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.audio.convert import telephone
from voxrec.errors import NotFound, Unavailable, VoxrecError
from voxrec.model import Profile, Prompt, RecordPrompt
from voxrec.threads import DeferToThread

DEFAULT = "announcement"
# What Asterisk calls a WAV file of each rate (its format_wav); it plays the one that suits the call.
_RATES: Final = {"wav": 8000, "wav16": 16000}
_NAME: Final = re.compile(r"prompt-([0-9a-f-]{36})-([0-9a-f]{16})")
_AGAIN: Final = 5.0  # seconds after which what failed is tried again


class SoundsUnavailable(Unavailable):
    """The directory of sounds cannot be written to."""

    code = "sounds-unavailable"


class Audio(Protocol):
    """A Prompt's audio as it was uploaded."""

    @property
    def sha256(self) -> str:
        """Its digest."""

    @property
    def content(self) -> bytes:
        """All of it."""


class Prompts(Protocol):
    """Where the custom announcements are kept."""

    async def all(self) -> list[Prompt]:
        """Every Prompt."""

    async def audio(self, prompt_id: UUID, /) -> Audio:
        """One Prompt's audio; `NotFound` where there is none."""


class _Sound(NamedTuple):
    """One version of a Prompt's audio: another upload is another file, so that none changes while it is played."""

    prompt_id: str
    version: str

    @property
    def name(self) -> str:
        return f"prompt-{self.prompt_id}-{self.version}"


class Announcements:
    """Keeps Asterisk's directory as the table of Prompts says, and knows what a Profile's announcement is called.

    Wire ``changed`` to PROMPTS_CHANNEL of a Listener and ``reload`` to its ``on_recovered``. A file that is not wanted
    any more stays for ``grace`` seconds: a call that began before may still ask for it, here or through another daemon
    that shares the directory. Asterisk itself keeps open what it plays.
    """

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
        """``default`` is what ``recordPrompt: default`` plays; ``in_asterisk`` what it calls ``directory``."""
        self._clock = clock
        self._prompts = prompts
        self._directory = directory
        self._defer_to_thread = defer_to_thread
        self._default = default
        self._in_asterisk = in_asterisk
        self._grace = grace
        self._playable: dict[str, _Sound] = {}
        self._unwanted: dict[_Sound, float] = {}  # since when
        self._stale = False
        self._worker: Deferred[None] | None = None

    def media_for(self, profile: Profile) -> str | None:
        """What a Profile's calls are told, as ARI media; None where it cannot be played."""
        if profile.record_prompt is not RecordPrompt.CUSTOM:
            return self._default
        sound = self._playable.get(str(profile.record_prompt_custom_id))
        return None if sound is None else f"sound:{self._in_asterisk}/{sound.name}"

    async def start(self) -> None:
        """Put the default announcement there, and take stock: what is there can be played without PostgreSQL."""
        try:
            await self._defer_to_thread(install_default, self._directory)
            self._playable = {sound.prompt_id: sound for sound in await self._defer_to_thread(_found, self._directory)}
        except VoxrecError as error:
            self._log.error("announcements: {error}", error=error)

    async def stop(self) -> None:
        """Change nothing any more."""
        if self._worker is not None:
            self._worker.cancel()

    def changed(self, _prompt_id: str = "") -> None:
        """Take it that a Prompt came, changed or went."""
        self._stale = True
        if self._worker is None:
            self._worker = worker = Deferred.fromCoroutine(self._refresh())
            worker.addErrback(self._ended).addCallback(self._rest)

    reload = changed

    async def sweep(self) -> None:
        """Remove what has not been wanted for long enough: for whoever calls this now and then."""
        if self._unwanted:
            self.changed()

    def _rest(self, _: None) -> None:
        self._worker = None

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("announcements could not be installed", failure)

    async def _refresh(self) -> None:
        await deferLater(self._clock, 0)
        complained = ""
        while self._stale:
            self._stale = False
            try:
                await self._follow(await self._prompts.all())
            except VoxrecError as error:
                self._stale = True
                if error.detail != complained:
                    complained = error.detail
                    self._log.warn("announcements: {error}; trying on", error=error)
                await deferLater(self._clock, _AGAIN)

    async def _follow(self, prompts: list[Prompt]) -> None:
        there = set(await self._defer_to_thread(_found, self._directory))
        wanted = {_Sound(str(prompt.id), prompt.sha256[:16]) for prompt in prompts if prompt.sha256 is not None}
        for sound in wanted:
            if sound in there or await self._installed(sound):
                self._playable[sound.prompt_id] = sound
        await self._clear(there - wanted)

    async def _installed(self, sound: _Sound) -> bool:
        try:
            audio = await self._prompts.audio(UUID(sound.prompt_id))
        except NotFound:
            return False  # a notification of its end is on the way
        if not audio.sha256.startswith(sound.version):
            self._stale = True  # it was replaced meanwhile
            return False
        try:
            await self._defer_to_thread(_install, self._directory, sound, audio.content)
        except SoundsUnavailable:
            raise
        except VoxrecError as error:
            self._log.error("prompt {id} cannot be played: {error}", id=sound.prompt_id, error=error)
            return False
        self._log.info("announcement {name} is installed", name=sound.name)
        return True

    async def _clear(self, unwanted: set[_Sound]) -> None:
        now = self._clock.seconds()
        self._unwanted = {sound: self._unwanted.get(sound, now) for sound in unwanted}
        over = [sound for sound, since in self._unwanted.items() if now - since >= self._grace]
        for sound in over:
            del self._unwanted[sound]
            if self._playable.get(sound.prompt_id) == sound:
                del self._playable[sound.prompt_id]
        await self._defer_to_thread(_remove, self._directory, over)


def install_default(directory: Path) -> None:
    """Put voxrec's own announcement ("This call is being recorded.") there, whole or not at all.

    Raises `SoundsUnavailable`. Blocks: run it in a thread.
    """
    sound = resources.files("voxrec.calls").joinpath("sounds", f"{DEFAULT}.wav").read_bytes()
    target = directory / f"{DEFAULT}.wav"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target.read_bytes() == sound:
            return
        _put(target, lambda temporary: temporary.write_bytes(sound))
    except OSError as error:
        raise SoundsUnavailable(f"the announcement cannot be put into {directory}: {error}") from error


def _install(directory: Path, sound: _Sound, content: bytes) -> None:
    """Convert and put one there, for each rate that Asterisk may want; raises AudioFault, SoundsUnavailable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile() as upload:
            upload.write(content)
            upload.flush()
            source = Path(upload.name)
            # the one that tells whether all is there comes last
            for suffix, rate in sorted(_RATES.items(), reverse=True):
                target = directory / f"{sound.name}.{suffix}"
                _put(target, lambda temporary, rate=rate: telephone(source, temporary, rate))  # type: ignore[misc]
    except OSError as error:
        raise SoundsUnavailable(f"an announcement cannot be put into {directory}: {error}") from error


def _put(target: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(prefix=".", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # Asterisk runs as another user
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _found(directory: Path) -> list[_Sound]:
    """What is there, the newest last."""
    try:
        files = sorted((path.stat().st_mtime, path.stem) for path in directory.glob("prompt-*.wav"))
    except OSError as error:
        raise SoundsUnavailable(f"the announcements in {directory} cannot be read: {error}") from error
    return [_Sound(match[1], match[2]) for _, stem in files if (match := _NAME.fullmatch(stem))]


def _remove(directory: Path, sounds: list[_Sound]) -> None:
    try:
        for sound in sounds:
            for suffix in sorted(_RATES):
                (directory / f"{sound.name}.{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise SoundsUnavailable(f"announcements in {directory} cannot be removed: {error}") from error
