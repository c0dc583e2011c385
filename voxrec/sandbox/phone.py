"""SIP phones to call and to be called with: each a program of its own (voxrec.sandbox.softphone), steered from here."""

import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone_commands import Consult, Dial, Direction, Join, Order, Reinvite, Transfer, encode_order
from voxrec.sandbox.process import Process, dying_with_parent, wait_until
from voxrec.sandbox.tones import repeat

READY_SECONDS = 10.0
ORDER_SECONDS = 10.0
ENDLESS_SECONDS = 600.0


class Codec(NamedTuple):
    """How pjsip names a codec, and the rate of its sound in Hz."""

    name: str
    rate: int


CODECS = {
    "pcmu": Codec("PCMU/8000", 8000),
    "pcma": Codec("PCMA/8000", 8000),
    "g722": Codec("G722/16000", 16000),
    "gsm": Codec("GSM/8000", 8000),
}


def codecs_named(names: str) -> list[Codec]:
    """Return the codecs of a list with commas ('g722,pcmu'), the preferred one first. KeyError."""
    return [CODECS[name] for name in names.split(",")]


class PhoneEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a phone; ``unix`` and ``monotonic`` tell when, comparable over all phones.

    Events of the call: ready; invite-sent; incoming (number, name, request_uri, headers); ringing (code); early-media
    and media (direction: sound flows that way from here on, and the heard file starts at the first of them; one for
    each re-INVITE of either side); confirmed; disconnected (code, reason: the final response, or 200 after a BYE);
    heard (path: what was heard is complete); digit (digits: a key that the other party pressed).

    Events that answer an order: media; dialling (digits); transferring and transferred (code, reason: how the transfer
    goes, and how it ended); consulting (who is consulted has answered); consulted (code, reason: that call is over);
    refused (reason: it cannot be done).
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
    """Return the event as one line."""
    return msgspec.json.encode(event).decode()


class Phone:
    """One phone, one call. Make it with ``calling`` or ``answering``, then ``start`` it.

    During its call it holds, resumes, presses keys and transfers when told to. In ``directory`` it leaves NAME.wav
    (what it heard), NAME.log (its events) and NAME.sip.log (every SIP message).
    """

    def __init__(self, reactor: IReactorTime, directory: Path, name: str, role: str, arguments: Sequence[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._reactor = reactor
        self._process: Process | None = None
        self.name = name
        self.port = free_port(socket.SOCK_DGRAM)
        self.heard = directory.absolute() / f"{name}.wav"
        self._log = directory.absolute() / f"{name}.log"
        trace = directory.absolute() / f"{name}.sip.log"
        program = [sys.executable, "-m", "voxrec.sandbox.softphone", role, f"--port={self.port}"]
        self.command = dying_with_parent([*program, f"--heard={self.heard}", f"--log={trace}", *arguments])

    @classmethod
    def calling(
        cls,
        reactor: IReactorTime,
        directory: Path,
        to: str,
        *,
        name: str = "caller",
        number: str = "+15550100",
        display_name: str = "",
        play: Path | None = None,
        once: bool = False,
        seconds: float | None = None,
        cancel_after: float | None = None,
        headers: Sequence[str] = (),
        codec: str = "pcmu",
        password: str = "",
    ) -> Self:
        """Make a phone that calls the SIP URI ``to`` as it starts.

        It plays ``play`` over and over (or ``once``), hangs up ``seconds`` after the answer, and gives up
        ``cancel_after`` seconds after its INVITE. ``headers`` are 'Name: value' lines for the INVITE. ``codec`` is one
        of CODECS, or several with commas between, the preferred one first; the widest one is the rate of what it hears.
        With ``password`` it can answer a challenge (401, 407), with ``number`` as its user name.
        """
        arguments = [f"--to={to}", *(f"--header={line}" for line in headers), f"--password={password}"]
        if cancel_after is not None:
            arguments.append(f"--cancel-after={cancel_after}")
        arguments += _shared_arguments(number, display_name, seconds, codec)
        arguments += _playing(play, directory / f"{name}.play.wav", once=once)
        return cls(reactor, directory, name, "call", arguments)

    @classmethod
    def answering(
        cls,
        reactor: IReactorTime,
        directory: Path,
        *,
        name: str = "desk",
        number: str = "desk",
        display_name: str = "",
        play: Path | None = None,
        once: bool = False,
        ring_seconds: float = 0.0,
        early_media: bool = False,
        answer_code: int = 200,
        hang_up_after: float | None = None,
        codec: str = "pcmu",
    ) -> Self:
        """Make a phone that waits for a call, rings (180; with ``early_media`` 183 and sound) and answers.

        ``answer_code`` other than 200 refuses the call with it. It hangs up ``hang_up_after`` seconds after the answer.
        """
        arguments = [f"--ring-seconds={ring_seconds}", f"--answer-code={answer_code}"]
        if early_media:
            arguments.append("--early-media")
        arguments += _shared_arguments(number, display_name, hang_up_after, codec)
        arguments += _playing(play, directory / f"{name}.play.wav", once=once)
        return cls(reactor, directory, name, "answer", arguments)

    @property
    def uri(self) -> str:
        """The SIP URI to call this phone under."""
        return f"sip:{self.name}@{LOOPBACK}:{self.port}"

    @property
    def events(self) -> list[PhoneEvent]:
        """Everything that has happened to it so far."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        # A line still being written has no end yet; what does not start as JSON is a complaint of the program's.
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [msgspec.json.decode(line, type=PhoneEvent) for line in lines if line.startswith("{")]

    @property
    def setup_seconds(self) -> float:
        """From INVITE to 200, as this caller saw it."""
        return self.event("confirmed").monotonic - self.event("invite-sent").monotonic

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.running

    def event(self, name: str) -> PhoneEvent:
        """Return the first event of that name; SandboxError when there was none."""
        for event in self.events:
            if event.event == name:
                return event
        raise SandboxError(f"{self.name}: no {name!r}; {self._story()}")

    def happened(self, name: str) -> bool:
        """Whether there was an event of that name."""
        return any(event.event == name for event in self.events)

    async def start(self) -> Self:
        """Start the program and wait until it is ready: listening, or about to send its INVITE."""
        self._log.unlink(missing_ok=True)
        # -m finds the package where this process found it, whatever directory this one was started in.
        source = Path(__file__).parents[2]
        self._process = Process(self.command, self._log, directory=source, listens=True)
        await self.wait_for("ready", READY_SECONDS)
        return self

    async def wait_for(self, name: str, seconds: float = 10.0) -> PhoneEvent:
        """Wait for an event; SandboxError, with all that happened, when it cannot come any more or is too late."""
        await wait_until(self._reactor, lambda: self.happened(name) or not self.running, seconds)
        return self.event(name)

    async def hold(self, direction: Direction = "sendonly") -> None:
        """Put the call on hold, and wait until the other side agreed.

        With ``sendonly`` it plays on what it plays, as a phone with music of its own; with ``inactive`` it is silent,
        and what it hears is not written: the heard file is shorter by that time.
        """
        await self._order(Reinvite(direction), "media")

    async def resume(self) -> None:
        """Take the call off hold, and wait until the other side agreed."""
        await self._order(Reinvite("sendrecv"), "media")

    async def reinvite(self) -> None:
        """Send a re-INVITE that changes nothing, and wait for its answer."""
        await self._order(Reinvite(), "media")

    async def dial_digits(self, digits: str) -> None:
        """Begin to press keys, a quarter of a second for each (RFC 4733)."""
        await self._order(Dial(digits), "dialling")

    async def transfer(self, to: str) -> PhoneEvent:
        """Send the other party to the SIP URI ``to``; return how that ended (code). It hangs up if that went well."""
        return await self._order(Transfer(to), "transferred")

    async def consult(self, to: str) -> None:
        """Call the SIP URI ``to`` beside the call on hold, and wait until somebody answers."""
        await self._order(Consult(to), "consulting")

    async def transfer_to_consulted(self) -> PhoneEvent:
        """Send the other party to the one consulted; return how that ended (code)."""
        return await self._order(Join(), "transferred")

    def freeze(self) -> None:
        """Stop in the middle of everything, as a network that fails does: it neither sends nor hears until `thaw`."""
        self._running().send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._running().send(signal.SIGCONT)

    async def _order(self, order: Order, done: str) -> PhoneEvent:
        seen = len(self.events)
        self._running().tell(encode_order(order))

        def answers() -> list[PhoneEvent]:
            return [event for event in self.events[seen:] if event.event in (done, "refused", "disconnected")]

        await wait_until(self._reactor, lambda: bool(answers()) or not self.running, ORDER_SECONDS)
        for event in answers():
            if event.event == done:
                return event
            raise SandboxError(f"{self.name}: {order} came to nothing: {event.event} {event.code} {event.reason}")
        raise SandboxError(f"{self.name}: {order} had no answer in {ORDER_SECONDS:g} s; {self._story()}")

    async def hang_up(self) -> None:
        """End its call (BYE, CANCEL or refusal, whichever is due) and the program; what it heard is complete then."""
        if self._process is not None:
            await self._process.stop(self._reactor)

    async def ended(self, seconds: float = 30.0) -> PhoneEvent:
        """Wait for the call's own end and return how it was: 'disconnected' with the code that the phone saw."""
        await self._running().ended(self._reactor, seconds)
        return self.event("disconnected")

    def kill(self) -> None:
        """End the program as a cut cable would: no BYE."""
        if self._process is not None:
            self._process.kill()

    def _running(self) -> Process:
        if self._process is None:
            raise SandboxError(f"{self.name} was never started")
        return self._process

    def _story(self) -> str:
        told = self._process.log_tail() if self._process is not None else "it was never started"
        return f"what happened:\n{told}"


def _shared_arguments(number: str, display_name: str, seconds: float | None, codec: str) -> list[str]:
    arguments = [f"--number={number}", f"--name={display_name}", f"--codec={codec}"]
    if seconds is not None:
        arguments.append(f"--seconds={seconds}")
    return arguments


def _playing(play: Path | None, endless: Path, *, once: bool) -> list[str]:
    if play is None:
        return []
    if once:
        return [f"--play={play.absolute()}", "--once"]
    # pjsip's player is silent for one packet (20 ms) at each start over, so it gets a file that is long enough.
    return [f"--play={repeat(play, endless, ENDLESS_SECONDS).absolute()}"]
