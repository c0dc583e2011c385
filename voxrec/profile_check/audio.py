"""Checks the announcement of a Profile, and what recording its calls needs."""

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import numpy as np

from voxrec.audio.formats import FORMATS, AudioFormat
from voxrec.audio.probe import probe
from voxrec.audio.writer import write_audio
from voxrec.errors import AudioError, NotFound
from voxrec.files import make_directory
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck, Prompt, RecordPrompt
from voxrec.threads import DeferToThread

_LONG_PROMPT: Final = 30.0  # seconds that both parties wait until they are connected
_DIRECTORY_MODE: Final = 0o750
_RATE: Final = 8000  # Hz
_TEST_SECONDS: Final = 0.5

Problem = Callable[[], Awaitable[str | None]]
"""Returns why something does not work, None if it does; see `voxrec.composition.readiness`."""


class PromptAudio(Protocol):
    """The uploaded audio of a Prompt."""

    @property
    def content(self) -> bytes:
        """The file."""


class Prompts(Protocol):
    """The repository of Prompts."""

    async def get(self, prompt_id: UUID, /) -> Prompt:
        """Return a Prompt. Raises NotFound."""

    async def audio(self, prompt_id: UUID, /) -> PromptAudio:
        """Return its audio. Raises NotFound."""


class PromptCheck:
    """Checks that the announcement exists, can be decoded, and is installed in Asterisk's directory."""

    def __init__(
        self,
        prompts: Prompts,
        media_for: Callable[[Profile], str | None],
        default_problem: Problem,
        defer_to_thread: DeferToThread,
    ) -> None:
        """``media_for`` returns the media URI of an announcement, None if it cannot be played yet."""
        self._prompts = prompts
        self._media_for = media_for
        self._default_problem = default_problem
        self._defer_to_thread = defer_to_thread

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return one row."""
        if profile.record_prompt is RecordPrompt.NONE:
            return [_prompt(None, CheckState.SKIPPED, "the Profile has no announcement")]
        if profile.record_prompt is RecordPrompt.DEFAULT:
            return [await self._check_default(profile)]
        return [await self._check_custom(profile)]

    async def _check_default(self, profile: Profile) -> ProfileCheck:
        media = self._media_for(profile)
        if (problem := await self._default_problem()) is not None:
            return _prompt(media, CheckState.FAILED, problem, "see the log, calls.announcement and asterisk.sounds")
        return _prompt(media, CheckState.OK, "Asterisk can play the default announcement")

    async def _check_custom(self, profile: Profile) -> ProfileCheck:
        prompt_id = profile.record_prompt_custom_id
        assert prompt_id is not None  # the model requires it
        name = str(prompt_id)
        try:
            await self._prompts.get(prompt_id)
            audio = await self._prompts.audio(prompt_id)
        except NotFound as error:
            return _prompt(name, CheckState.FAILED, error.detail, "upload it: PUT /prompts/ID/audio")
        try:
            info = await self._defer_to_thread(_probe_content, audio.content)
        except AudioError as error:
            return _prompt(name, CheckState.FAILED, f"is not valid audio: {error.detail}", "upload another file")
        if self._media_for(profile) is None:
            detail = "has not been installed in the directory asterisk.sounds"
            return _prompt(name, CheckState.FAILED, detail, "see the log, and the permissions of asterisk.sounds")
        detail = f"{info.duration:.1f} s, {info.rate} Hz, {info.channels} channel(s); installed for Asterisk"
        if info.duration > _LONG_PROMPT:
            advice = f"use an announcement of at most {_LONG_PROMPT:g} s: both parties wait until it ends"
            return _prompt(name, CheckState.WARNING, detail, advice)
        return _prompt(name, CheckState.OK, detail)


class RecordingCheck:
    """Checks that a call could be recorded now, and that its audio could be stored in the Profile's format."""

    def __init__(self, problems: Sequence[Problem], work_directory: Path, defer_to_thread: DeferToThread) -> None:
        """``problems`` are those of AMI and of Asterisk's recording directory."""
        self._problems = problems
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return one row."""
        audio_format = FORMATS.get(profile.record_format)
        if audio_format is None:
            detail = f"the format {profile.record_format!r} is unknown"
            return [_recording(profile, CheckState.FAILED, detail, "set recordFormat to one of the API guide")]
        try:
            await self._defer_to_thread(_encode_silence, audio_format, self._work_directory)
        except OSError as error:
            advice = "check the mount, the permissions and the free space of the archive; voxrec doctor examines them"
            return [_recording(profile, CheckState.FAILED, f"audio cannot be stored: {error}", advice)]
        for problem in self._problems:
            if (text := await problem()) is not None:
                return [_recording(profile, CheckState.FAILED, text, "see GET /health/ready and voxrec doctor")]
        if not profile.record:
            detail = "the Profile does not record calls by itself; POST /calls/ID could"
            return [_recording(profile, CheckState.SKIPPED, detail)]
        detail = f"calls can be recorded and stored as {profile.record_format}"
        if audio_format.channels < 2 and profile.record_channels == "dual":
            advice = "use recordChannels mono, or a format with two channels"
            detail = f"calls can be recorded and stored as {profile.record_format}, but with one channel"
            return [_recording(profile, CheckState.WARNING, detail, advice)]
        return [_recording(profile, CheckState.OK, detail)]


def _probe_content(content: bytes) -> object:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return probe(Path(file.name))


def _encode_silence(audio_format: AudioFormat, directory: Path) -> None:
    """Write silence in a format. Raises AudioError or OSError if that is impossible."""
    silence = np.zeros((int(_TEST_SECONDS * audio_format.rate_for(_RATE)), 1), np.int16)
    make_directory(directory, _DIRECTORY_MODE)
    with tempfile.TemporaryDirectory(dir=directory, prefix="check-") as temporary:
        output = Path(temporary, f"silence.{audio_format.suffix}")
        write_audio([silence], output, audio_format.rate_for(_RATE), 1, audio_format)


def _prompt(target: str | None, state: CheckState, detail: str, advice: str | None = None) -> ProfileCheck:
    return ProfileCheck(name=CheckName.PROMPT, target=target, state=state, detail=detail, advice=advice)


def _recording(profile: Profile, state: CheckState, detail: str, advice: str | None = None) -> ProfileCheck:
    return ProfileCheck(
        name=CheckName.RECORDING, target=profile.record_format, state=state, detail=detail, advice=advice
    )
