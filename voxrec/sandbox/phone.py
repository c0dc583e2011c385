"""SIP phones: each is a process of voxrec.sandbox.softphone that this module starts, commands and observes."""

import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import msgspec
from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone_commands import (
    CompleteTransfer,
    Direction,
    PhoneCommand,
    Reinvite,
    SendDtmf,
    StartConsultation,
    Transfer,
    encode_command,
)
from voxrec.sandbox.process import Process, wait_until, with_parent_death_signal
from voxrec.sandbox.tones import loop_to_length

READY_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 10.0
LOOPED_AUDIO_SECONDS = 600.0


class Codec(NamedTuple):
    """Name of a codec in pjsip, and its sampling rate in Hz."""

    name: str
    rate: int


CODECS = {
    "pcmu": Codec("PCMU/8000", 8000),
    "pcma": Codec("PCMA/8000", 8000),
    "g722": Codec("G722/16000", 16000),
    "gsm": Codec("GSM/8000", 8000),
}


def parse_codec_list(names: str) -> list[Codec]:
    """Return the codecs in a comma-separated list such as 'g722,pcmu', the preferred one first.

    Raises KeyError if a name is not in CODECS.
    """
    return [CODECS[name] for name in names.split(",")]


class PhoneEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of a phone. ``unix`` and ``monotonic`` are its time on clocks that all phones share.

    Call events: ready; invite-sent; incoming (number, name, request_uri, headers); ringing (code); early-media and
    media (direction: from now on audio flows in it, and the received audio starts at the first of these events; one
    event for each re-INVITE of either side); confirmed; disconnected (code, reason: of the final response, 200 after a
    BYE); recorded (path: the file of received audio is complete); digit (digits: a DTMF digit from the other party).

    Command events: media; sending-dtmf (digits); transfer-progress and transfer-ended (code, reason);
    consultation-answered; consultation-ended (code, reason); command-failed (reason).
    """

    event: str
    unix: float
    monotonic: float
    code: int = 0
    reason: str = ""
    number: str = ""
    name: str = ""
    request_uri: str = ""
    headers: dict[str, str] = {}
    path: str = ""
    direction: str = ""
    digits: str = ""


def encode_event(event: PhoneEvent) -> str:
    """Return the event as one line of JSON."""
    return msgspec.json.encode(event).decode()


@dataclass(frozen=True, slots=True)
class Network:
    """How a phone is connected: its SIP transport, and whether its audio is SRTP.

    It uses IPv4: pjsua2 of PyPI is built without IPv6 for audio (`voxrec.sandbox.scripted_peer` has both). The keys of
    SRTP are in the SDP (SDES, RFC 4568). ``certificate`` is a PEM file with the private key, for TLS; the
    phone does not verify the other side's certificate.
    """

    transport: Literal["udp", "tcp", "tls"] = "udp"
    srtp: bool = False
    certificate: str = ""

    def arguments(self) -> list[str]:
        """Return the options of `voxrec.sandbox.softphone`."""
        return [
            f"--transport={self.transport}",
            f"--certificate={self.certificate}",
            *(["--srtp"] if self.srtp else []),
        ]

    def uri(self, user: str, port: int) -> str:
        """Return the SIP URI of a user at a loopback port, with this transport."""
        transport = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{user}@{LOOPBACK}:{port}{transport}"


UDP: Final = Network()


class Phone:
    """One phone for one call. Construct it with `make_caller` or `make_callee`, then `start` it.

    It writes to ``directory``: NAME.wav (received audio), NAME.log (its events) and NAME.sip.log (all SIP messages).
    """

    def __init__(
        self,
        reactor: IReactorTime,
        directory: Path,
        name: str,
        role: str,
        arguments: Sequence[str],
        network: Network,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._reactor = reactor
        self._process: Process | None = None
        self.name = name
        self.network = network
        self.port = free_port(socket.SOCK_DGRAM if network.transport == "udp" else socket.SOCK_STREAM)
        self.received_audio = directory.absolute() / f"{name}.wav"
        self._log = directory.absolute() / f"{name}.log"
        trace = directory.absolute() / f"{name}.sip.log"
        program = [sys.executable, "-m", "voxrec.sandbox.softphone", role, f"--port={self.port}"]
        self.command = with_parent_death_signal(
            [*program, f"--record={self.received_audio}", f"--log={trace}", *network.arguments(), *arguments]
        )

    @classmethod
    def make_caller(
        cls,
        reactor: IReactorTime,
        directory: Path,
        to: str,
        *,
        name: str = "caller",
        number: str = "+15550100",
        display_name: str = "",
        play: Path | None = None,
        play_once: bool = False,
        seconds: float | None = None,
        cancel_after: float | None = None,
        headers: Sequence[str] = (),
        codec: str = "pcmu",
        password: str = "",
        network: Network = UDP,
    ) -> Self:
        """Return a phone that calls the SIP URI ``to`` when it is started.

        It plays ``play`` in a loop, or once with ``play_once``, hangs up ``seconds`` after the answer, and cancels the
        call ``cancel_after`` seconds after its INVITE. ``headers`` are 'Name: value' lines for the INVITE. ``codec`` is
        a name from CODECS, or several separated by commas, the preferred one first; the highest sampling rate among
        them is that of the received audio. With ``password`` the phone responds to authentication challenges (401,
        407), with ``number`` as user name.
        """
        arguments = [f"--to={to}", *(f"--header={line}" for line in headers), f"--password={password}"]
        if cancel_after is not None:
            arguments.append(f"--cancel-after={cancel_after}")
        arguments += _shared_arguments(number, display_name, seconds, codec)
        arguments += _play_arguments(play, directory / f"{name}.play.wav", play_once=play_once)
        return cls(reactor, directory, name, "call", arguments, network)

    @classmethod
    def make_callee(
        cls,
        reactor: IReactorTime,
        directory: Path,
        *,
        name: str = "desk",
        number: str = "desk",
        display_name: str = "",
        play: Path | None = None,
        play_once: bool = False,
        ring_seconds: float = 0.0,
        early_media: bool = False,
        answer_code: int = 200,
        hang_up_after: float | None = None,
        codec: str = "pcmu",
        network: Network = UDP,
    ) -> Self:
        """Return a phone that waits for a call, rings and answers.

        It rings with 180, or with ``early_media`` with 183 and audio. An ``answer_code`` other than 200 rejects the
        call. The phone hangs up ``hang_up_after`` seconds after the answer. The other arguments are as for
        `make_caller`.
        """
        arguments = [f"--ring-seconds={ring_seconds}", f"--answer-code={answer_code}"]
        if early_media:
            arguments.append("--early-media")
        arguments += _shared_arguments(number, display_name, hang_up_after, codec)
        arguments += _play_arguments(play, directory / f"{name}.play.wav", play_once=play_once)
        return cls(reactor, directory, name, "answer", arguments, network)

    @property
    def uri(self) -> str:
        """The SIP URI of this phone."""
        return self.network.uri(self.name, self.port)

    @property
    def events(self) -> list[PhoneEvent]:
        """All events so far, oldest first."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        # A line that is still being written has no end yet; lines that are not JSON are error output of the program.
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [msgspec.json.decode(line, type=PhoneEvent) for line in lines if line.startswith("{")]

    @property
    def setup_seconds(self) -> float:
        """Seconds from this caller's INVITE to the 200 response."""
        return self.event("confirmed").monotonic - self.event("invite-sent").monotonic

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.running

    def event(self, name: str) -> PhoneEvent:
        """Return the first event with this name. Raises SandboxError if there is none."""
        for event in self.events:
            if event.event == name:
                return event
        raise SandboxError(f"{self.name}: no event {name!r}; {self._log_summary()}")

    def has_event(self, name: str) -> bool:
        """Return whether an event with this name has occurred."""
        return any(event.event == name for event in self.events)

    async def start(self) -> Self:
        """Start the process and wait until it listens or is about to send its INVITE."""
        self._log.unlink(missing_ok=True)
        # So that -m imports the same package as this process, independent of the current directory.
        source = Path(__file__).parents[2]
        self._process = Process(self.command, self._log, directory=source, stdin_pipe=True)
        self._process.prefer_for_audio()  # it stands for a machine of its own
        await self.wait_for("ready", READY_SECONDS)
        return self

    async def wait_for(self, name: str, seconds: float = 10.0) -> PhoneEvent:
        """Wait for the first event with this name and return it.

        Raises SandboxError, with the phone's log, if the process ends without it or after ``seconds``.
        """
        await wait_until(self._reactor, lambda: self.has_event(name) or not self.running, seconds)
        return self.event(name)

    async def hold(self, direction: Direction = "sendonly") -> None:
        """Put the call on hold and wait until the other side has accepted the re-INVITE.

        With ``sendonly`` the phone continues to play, like music on hold; with ``inactive`` it is silent and records
        nothing, so that the received audio is shorter by that time.
        """
        await self._execute(Reinvite(direction), "media")

    async def resume(self) -> None:
        """Take the call off hold and wait until the other side has accepted the re-INVITE."""
        await self._execute(Reinvite("sendrecv"), "media")

    async def reinvite(self) -> None:
        """Send a re-INVITE that changes nothing, and wait for the response."""
        await self._execute(Reinvite(), "media")

    async def send_dtmf(self, digits: str) -> None:
        """Start to send DTMF digits (RFC 4733), a quarter of a second each."""
        await self._execute(SendDtmf(digits), "sending-dtmf")

    async def transfer(self, to: str) -> PhoneEvent:
        """Transfer the other party to the SIP URI ``to`` and return the final event with its SIP ``code``.

        The phone hangs up if the transfer succeeded.
        """
        return await self._execute(Transfer(to), "transfer-ended")

    async def start_consultation(self, to: str) -> None:
        """Call the SIP URI ``to`` while the current call is on hold, and wait for the answer."""
        await self._execute(StartConsultation(to), "consultation-answered")

    async def complete_attended_transfer(self) -> PhoneEvent:
        """Transfer the other party to the consulted phone and return the final event with its SIP ``code``."""
        return await self._execute(CompleteTransfer(), "transfer-ended")

    def suspend_process(self) -> None:
        """Suspend the process (SIGSTOP), as if the network failed; `continue_process` resumes it."""
        self._require_process().send_signal(signal.SIGSTOP)

    def continue_process(self) -> None:
        """Resume the process after `suspend_process`."""
        self._require_process().send_signal(signal.SIGCONT)

    async def _execute(self, command: PhoneCommand, success: str) -> PhoneEvent:
        seen = len(self.events)
        self._require_process().write_line(encode_command(command))

        def outcomes() -> list[PhoneEvent]:
            return [e for e in self.events[seen:] if e.event in (success, "command-failed", "disconnected")]

        await wait_until(self._reactor, lambda: bool(outcomes()) or not self.running, COMMAND_TIMEOUT_SECONDS)
        for event in outcomes():
            if event.event == success:
                return event
            raise SandboxError(f"{self.name}: {command} failed: {event.event} {event.code} {event.reason}")
        raise SandboxError(
            f"{self.name}: {command} had no result within {COMMAND_TIMEOUT_SECONDS:g} s; {self._log_summary()}"
        )

    async def hang_up(self) -> None:
        """End the call (with BYE, CANCEL or a rejection, as its state requires) and the process.

        The file of received audio is complete afterwards.
        """
        if self._process is not None:
            await self._process.stop(self._reactor)

    async def wait_until_ended(self, seconds: float = 30.0) -> PhoneEvent:
        """Wait until call and process have ended, and return the event 'disconnected' with the final SIP ``code``.

        Raises SandboxError after ``seconds``.
        """
        await self._require_process().wait_until_ended(self._reactor, seconds)
        return self.event("disconnected")

    def kill(self) -> None:
        """Kill the process without sending a BYE."""
        if self._process is not None:
            self._process.kill()

    def _require_process(self) -> Process:
        if self._process is None:
            raise SandboxError(f"{self.name} has not been started")
        return self._process

    def _log_summary(self) -> str:
        if self._process is None:
            return "it has not been started"
        return f"its log:\n{self._process.log_tail()}"


def _shared_arguments(number: str, display_name: str, seconds: float | None, codec: str) -> list[str]:
    arguments = [f"--number={number}", f"--name={display_name}", f"--codec={codec}"]
    if seconds is not None:
        arguments.append(f"--seconds={seconds}")
    return arguments


def _play_arguments(play: Path | None, looped: Path, *, play_once: bool) -> list[str]:
    if play is None:
        return []
    if play_once:
        return [f"--play={play.absolute()}", "--play-once"]
    # pjsip's player is silent for one packet (20 ms) whenever it loops, so it gets a file that is long enough.
    return [f"--play={loop_to_length(play, looped, LOOPED_AUDIO_SECONDS).absolute()}"]
