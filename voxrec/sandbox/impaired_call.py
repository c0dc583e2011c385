"""Places a call between two scripted peers, by voxrec or by Asterisk's dialplan alone, and measures its fidelity."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from twisted.internet.task import deferLater

from voxrec.sandbox.asterisk import LOOPBACK, baseline_extension
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.fidelity import HeardTrack, Track, measure_heard, measure_track, offset_between
from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.noise import Samples16
from voxrec.sandbox.rtp import NO_IMPAIRMENTS, PCMU, Codec, Impairments
from voxrec.sandbox.scripted_peer import CalleeScript, ScriptedPeer
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tones import load_audio

_MARGIN: Final = 0.5  # seconds from the end of the audio to the hang-up


class Handling(StrEnum):
    """What handles the call."""

    RECORDED = "recorded"
    UNRECORDED = "unrecorded"
    DIALPLAN = "dialplan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One party of a call; see `ScriptedPeer` and `MediaStream`."""

    impairments: Impairments = NO_IMPAIRMENTS
    codecs: tuple[Codec, ...] = (PCMU,)
    ptime: int = 20
    late_offer: bool = False
    ack_delay: float = 0.0
    script: CalleeScript = field(default_factory=CalleeScript)
    address: str = LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFidelity:
    """The fidelity of one call. The tracks of the recording are None if it was not recorded."""

    heard_by_callee: HeardTrack
    heard_by_caller: HeardTrack
    left: Track | None = None
    right: Track | None = None
    recording: dict[str, Any] | None = None

    @property
    def offset(self) -> float:
        """By how many milliseconds the right channel is later than the left one."""
        assert self.left is not None, "the call was recorded"
        assert self.right is not None, "the call was recorded"
        return offset_between(self.left, self.right)


class ImpairedCall:
    """One call of ``seconds`` between two parties through a running stack.

    ``sip_address`` is where Asterisk listens, if it is not its usual address; ``profile`` are further fields of the
    Profile.
    """

    def __init__(
        self,
        stack: Stack,
        reactor: Any,
        directory: Path,
        *,
        caller: Party | None = None,
        callee: Party | None = None,
        seconds: float = 4.0,
        sip_address: tuple[str, int] | None = None,
        **profile: Any,
    ) -> None:
        self._stack, self._reactor, self._directory = stack, reactor, directory
        self._sip_address = sip_address
        self._profile = profile
        self._seconds = seconds
        self.caller = self._make_peer(caller or Party(), seed=1)
        """The peer that calls."""
        self.callee = self._make_peer(callee or Party(), seed=2)
        """The peer that is called."""

    def _make_peer(self, party: Party, seed: int) -> ScriptedPeer:
        media = MediaStream(
            seed=seed,
            seconds=self._seconds,
            codec=party.codecs[0],
            ptime=party.ptime,
            impairments=party.impairments,
            address=party.address,
        )
        return ScriptedPeer(
            self._reactor,
            self._sip_address or self._stack.asterisk.sip_address,
            media,
            address=party.address,
            codecs=party.codecs,
            late_offer=party.late_offer,
            ack_delay=party.ack_delay,
            script=party.script,
        ).start()

    async def close(self) -> None:
        """Close both peers."""
        await self.caller.close()
        await self.callee.close()

    async def run(self, handling: Handling = Handling.RECORDED) -> CallFidelity:
        """Place the call, let both parties send all their audio, hang up, and measure.

        Raises SandboxError if the call is not answered, or its recording does not finish.
        """
        profile = await self.place(handling)
        await self.wait_until_sent()
        return await self.finish(profile)

    async def place(self, handling: Handling = Handling.RECORDED) -> str | None:
        """Place the call, and wait until it is answered. Return the id of the Profile, if the call is recorded."""
        user, profile = await self._target(handling)
        response = await self.caller.call(user)
        if response.status != 200:
            raise SandboxError(f"the call was not answered: {response.start_line}")
        return profile

    async def _target(self, handling: Handling) -> tuple[str, str | None]:
        if handling is Handling.DIALPLAN:
            return baseline_extension(int(self.callee.host_port.rpartition(":")[2])), None
        recorded = handling is Handling.RECORDED
        fields = {"record": recorded, "recordChannels": "dual", "recordPrompt": "none", "recordBeepAtStart": False}
        created = await self._stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": self.callee.uri, **fields, **self._profile}
        )
        await deferLater(self._reactor, 0.3)  # until the Profile can be called
        return created["id"], created["id"] if recorded else None

    async def wait_until_sent(self) -> None:
        """Wait until both parties have sent their audio."""
        delays = [peer.media.impairments.first_packet_delay for peer in (self.caller, self.callee)]
        await deferLater(self._reactor, self._seconds + max(delays) + _MARGIN)

    async def finish(self, profile: str | None) -> CallFidelity:
        """Hang up, wait for the recording of a call to ``profile``, and measure."""
        await self.caller.hang_up_call()
        heard_by_callee = measure_heard(self.caller.media, self.callee.media)
        heard_by_caller = measure_heard(self.callee.media, self.caller.media)
        if profile is None:
            return CallFidelity(heard_by_callee=heard_by_callee, heard_by_caller=heard_by_caller)
        recording = await self._stack.wait_for_recording(profile)
        audio = self._directory / f"{recording['id']}.wav"
        audio.write_bytes((await self._stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = load_audio(audio)
        return CallFidelity(
            heard_by_callee=heard_by_callee,
            heard_by_caller=heard_by_caller,
            left=measure_track(self.caller.media, _to_16_bits(samples[:, 0]), rate),
            right=measure_track(self.callee.media, _to_16_bits(samples[:, 1]), rate),
            recording=recording,
        )


def _to_16_bits(samples: Any) -> Samples16:
    converted: Samples16 = (samples * 32768).round().astype("int16")
    return converted
