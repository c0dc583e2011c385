"""A SIP phone as a program: it places or answers one call with real media, plays a file and records what it receives.

Events go to standard output as one JSON object per line; standard input takes the commands of
voxrec.sandbox.phone_commands. voxrec.sandbox.phone is the other end of both. It is a separate process because the SIP
stack (pjsip) supports one endpoint per process, and because its audio clock must not wait for Twisted's reactor.
"""

import argparse
import email.parser
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec
import pjsua2 as pj

from voxrec.sandbox.phone import PhoneEvent, encode_event, parse_codec_list
from voxrec.sandbox.phone_commands import (
    CompleteTransfer,
    Direction,
    PhoneCommand,
    Reinvite,
    SendDtmf,
    StartConsultation,
    Transfer,
    decode_command,
)
from voxrec.sandbox.softphone_endpoint import configure_media, endpoint_config, own_uri, transport_config
from voxrec.sandbox.softphone_options import option_parser

EVENT_LOOP_MILLISECONDS = 10
BYE_SECONDS = 2.0
# Time for the last messages (the ACK of a rejection, the 200 to a BYE) to be sent.
LINGER_SECONDS = 0.1
RINGING, SESSION_PROGRESS = 180, 183
STDIN = 0
READ_BYTES = 4096

DIRECTIONS: dict[Direction, int] = {
    "sendrecv": pj.PJMEDIA_DIR_ENCODING_DECODING,
    "sendonly": pj.PJMEDIA_DIR_ENCODING,
    "recvonly": pj.PJMEDIA_DIR_DECODING,
    "inactive": pj.PJMEDIA_DIR_NONE,
}
_DIRECTION_NAMES = {value: name for name, value in DIRECTIONS.items()}

_ADDRESS = re.compile(r'^\s*(?:"(?P<quoted>(?:\\.|[^"])*)"|(?P<plain>[^<"]*?))\s*<?sips?:(?:(?P<user>[^@>;]*)@)?')


class Softphone:
    """One endpoint with one account, at most one call, and during a consultation a second call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.call: _Call | None = None
        self.consultation: _Call | None = None
        self.command_buffer = b""
        self.player: pj.AudioMediaPlayer | None = None
        self.recorder: pj.AudioMediaRecorder | None = None
        self.account: _Account | None = None
        self.finished = False
        self.hang_up_at = float("inf")
        self.answer_at = float("inf")
        self.give_up_at = float("inf")
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        self._start_endpoint()

    def run(self) -> None:
        """Place the call or wait for it, and return when it is over."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        os.set_blocking(STDIN, False)
        self._emit("ready")
        if self.options.role == "call":
            self._place_call()
        while not self.finished and time.monotonic() < self.give_up_at:
            self.endpoint.libHandleEvents(EVENT_LOOP_MILLISECONDS)
            self._check_timers()
            self._read_commands()
        self._close()

    def _start_endpoint(self) -> None:
        self.endpoint.libInit(endpoint_config(self.options.codec, self.options.log))
        self.endpoint.transportCreate(*transport_config(self.options))
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        enabled = parse_codec_list(self.options.codec)
        for codec in self.endpoint.codecEnum2():
            ranks = [rank for rank, one in enumerate(enabled) if codec.codecId.startswith(one.name)]
            self.endpoint.codecSetPriority(codec.codecId, 255 - ranks[0] if ranks else 0)
        self.account = _Account(self)
        self.account.create(self._account_config())

    def _account_config(self) -> pj.AccountConfig:
        config = pj.AccountConfig()
        name = self.options.name.replace("\\", "\\\\").replace('"', '\\"')
        config.idUri = f'"{name}" <{own_uri(self.options)}>'
        if self.options.role == "call" and self.options.password:
            credentials = pj.AuthCredInfo("digest", "*", self.options.number, 0, self.options.password)
            config.sipConfig.authCreds.append(credentials)
        # NAT traversal, which is wrong on the loopback interface.
        config.natConfig.contactRewriteUse = 0
        config.natConfig.viaRewriteUse = 0
        config.natConfig.sdpNatRewriteUse = 0
        config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_INACTIVE
        configure_media(config.mediaConfig, self.options)
        return config

    def _place_call(self) -> None:
        self.call = _Call(self, self.account)
        parameters = pj.CallOpParam(True)
        parameters.opt.videoCount = 0
        for line in self.options.header:
            name, _, value = line.partition(":")
            header = pj.SipHeader()
            header.hName = name.strip()
            header.hValue = value.strip()
            parameters.txOption.headers.append(header)
        if self.options.cancel_after is not None:
            self.hang_up_at = time.monotonic() + self.options.cancel_after
        self._emit("invite-sent")
        self.call.makeCall(self.options.to, parameters)

    def on_incoming(self, call_id: int, message: str) -> None:
        """Answer the first INVITE according to the options; reject further ones with 486."""
        call = _Call(self, self.account, call_id)
        if self.call is not None or self.options.role != "answer":
            self._answer(call, pj.PJSIP_SC_BUSY_HERE)
            return
        self.call = call
        self._emit_incoming(message)
        if self.options.ring_seconds > 0:
            self._answer(call, SESSION_PROGRESS if self.options.early_media else RINGING)
        self.answer_at = time.monotonic() + self.options.ring_seconds

    def on_state(self, call: "_Call") -> None:
        """Report the new state of a call."""
        info = call.getInfo()
        if call is self.consultation:
            self._on_consultation_state(info)
        if call is not self.call:
            return
        if info.state == pj.PJSIP_INV_STATE_EARLY and info.role == pj.PJSIP_ROLE_UAC:
            self._emit("ringing", code=info.lastStatusCode, reason=info.lastReason)
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self._emit("confirmed", code=info.lastStatusCode, reason=info.lastReason)
            self.hang_up_at = time.monotonic() + self.options.seconds
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._emit("disconnected", code=info.lastStatusCode, reason=info.lastReason)
            # The consulted phone ends the consultation call when the transfer reaches it (RFC 5589, section 7).
            self.finished = self.consultation is None
            self.give_up_at = time.monotonic() + BYE_SECONDS

    def _on_consultation_state(self, info: pj.CallInfo) -> None:
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self._emit("consultation-answered", code=info.lastStatusCode, reason=info.lastReason)
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._emit("consultation-ended", code=info.lastStatusCode, reason=info.lastReason)
            self.consultation = None
            self.finished = self.call is None or not self.call.isActive()

    def on_replaced(self, call: "_Call", call_id: int) -> None:
        """Continue with the call that replaces the current one (RFC 3891)."""
        if call is self.call:
            self.call = _Call(self, self.account, call_id)
            self.on_media(self.call)

    def on_digit(self, digit: str) -> None:
        """Report a DTMF digit from the other party."""
        self._emit("digit", digits=digit)

    def on_transfer(self, call: "_Call", code: int, reason: str, *, final: bool) -> None:
        """Report the progress of a transfer that this phone requested; hang up when it succeeded, as telephones do."""
        self._emit("transfer-ended" if final else "transfer-progress", code=code, reason=reason)
        if final and call is self.call and code // 100 == 2:
            self.hang_up_at = time.monotonic()

    def on_media(self, call: "_Call") -> None:
        """Connect player and recorder to the call's audio, at the start and after each re-INVITE."""
        if call is not self.call and call is not self.consultation:
            return
        info = call.getInfo()
        audio_streams = [
            media
            for media in info.media
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status != pj.PJSUA_CALL_MEDIA_NONE
        ]
        if not audio_streams:
            return
        direction = _DIRECTION_NAMES[audio_streams[0].dir]
        if direction != "inactive":
            self._connect(call.getAudioMedia(audio_streams[0].index))
        if call is self.call:
            early = info.state == pj.PJSIP_INV_STATE_EARLY
            self._emit("early-media" if early else "media", direction=direction)

    def _connect(self, audio: pj.AudioMedia) -> None:
        if self.options.play:
            if self.player is None:
                self.player = pj.AudioMediaPlayer()
                self.player.createPlayer(self.options.play, pj.PJMEDIA_FILE_NO_LOOP if self.options.play_once else 0)
            self.player.startTransmit(audio)
        if self.options.record:
            if self.recorder is None:
                self.recorder = pj.AudioMediaRecorder()
                self.recorder.createRecorder(self.options.record)
            audio.startTransmit(self.recorder)

    def _read_commands(self) -> None:
        try:
            self.command_buffer += os.read(STDIN, READ_BYTES)
        except BlockingIOError:
            return
        *lines, self.command_buffer = self.command_buffer.split(b"\n")
        for line in lines:
            try:
                self._execute(decode_command(line))
            except (pj.Error, msgspec.DecodeError, _InvalidStateError) as error:
                self._emit("command-failed", reason=error.info() if isinstance(error, pj.Error) else str(error))

    def _execute(self, command: PhoneCommand) -> None:
        if self.call is None or not self.call.isActive():
            raise _InvalidStateError("there is no active call")
        parameters = pj.CallOpParam(True)
        parameters.opt.videoCount = 0
        match command:
            case Reinvite(direction):
                if direction is not None:
                    parameters.opt.flag |= pj.PJSUA_CALL_SET_MEDIA_DIR
                    # Appended, because the binding does not support assignment.
                    parameters.opt.mediaDir.append(DIRECTIONS[direction])
                self.call.reinvite(parameters)
            case SendDtmf(digits):
                self.call.dialDtmf(digits)
                self._emit("sending-dtmf", digits=digits)
            case Transfer(to):
                self.call.xfer(to, parameters)
            case StartConsultation(to):
                self.consultation = _Call(self, self.account)
                self.consultation.makeCall(to, parameters)
            case CompleteTransfer():
                if self.consultation is None:
                    raise _InvalidStateError("there is no consultation call")
                self.call.xferReplaces(self.consultation, parameters)

    def _check_timers(self) -> None:
        now = time.monotonic()
        if self.call is None or self.finished:
            return
        if now >= self.answer_at:
            self.answer_at = float("inf")
            self._answer(self.call, self.options.answer_code)
        if now >= self.hang_up_at:
            self._hang_up()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.call is None:
            self.finished = True
        else:
            self.hang_up_at = 0.0

    def _hang_up(self) -> None:
        # pjsip sends a BYE, a CANCEL or a rejection, depending on the state of the call.
        self.hang_up_at = self.answer_at = float("inf")
        self.give_up_at = time.monotonic() + BYE_SECONDS
        if self.call is not None:
            self.call.hangup(pj.CallOpParam(True))

    @staticmethod
    def _answer(call: "_Call", code: int) -> None:
        parameters = pj.CallOpParam(True)
        parameters.statusCode = code
        parameters.opt.videoCount = 0
        call.answer(parameters)

    def _close(self) -> None:
        linger = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < linger:
            self.endpoint.libHandleEvents(EVENT_LOOP_MILLISECONDS)
        # These must be released before the endpoint; a recorder writes its file's header only then.
        recorded = self.recorder is not None
        self.player = self.recorder = self.consultation = self.call = self.account = None
        # All messages have been sent; waiting for the network would only take another second.
        self.endpoint.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)
        if recorded:
            self._emit("recorded", path=self.options.record)

    def _emit_incoming(self, message: str) -> None:
        request, _, rest = message.partition("\r\n")
        headers = email.parser.HeaderParser().parsestr(rest.replace("\r\n", "\n"))
        found = _ADDRESS.match(headers.get("From", ""))
        name = (found["quoted"] or found["plain"] or "") if found else ""
        self._emit(
            "incoming",
            request_uri=request.split(" ")[1],
            number=(found["user"] or "") if found else "",
            name=re.sub(r"\\(.)", r"\1", name),
            headers={name: str(value) for name, value in headers.items()},
        )

    @staticmethod
    def _emit(
        event: str,
        *,
        code: int = 0,
        reason: str = "",
        number: str = "",
        name: str = "",
        request_uri: str = "",
        headers: dict[str, str] | None = None,
        path: str = "",
        direction: str = "",
        digits: str = "",
    ) -> None:
        phone_event = PhoneEvent(
            event,
            time.time(),
            time.monotonic(),
            code=code,
            reason=reason,
            number=number,
            name=name,
            request_uri=request_uri,
            headers=headers or {},
            path=path,
            direction=direction,
            digits=digits,
        )
        print(encode_event(phone_event), flush=True)


class _InvalidStateError(Exception):
    """A command is not possible in the current state of the call."""


class _Account(pj.Account):  # type: ignore[misc]
    def __init__(self, phone: Softphone) -> None:
        super().__init__()
        self._phone = phone

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        self._phone.on_incoming(prm.callId, prm.rdata.wholeMsg)


class _Call(pj.Call):  # type: ignore[misc]
    def __init__(self, phone: Softphone, account: _Account | None, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self._phone = phone

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        del prm
        self._phone.on_state(self)

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        del prm
        self._phone.on_media(self)

    def onDtmfDigit(self, prm: pj.OnDtmfDigitParam) -> None:
        self._phone.on_digit(prm.digit)

    def onCallReplaced(self, prm: pj.OnCallReplacedParam) -> None:
        self._phone.on_replaced(self, prm.newCallId)

    def onCallTransferStatus(self, prm: pj.OnCallTransferStatusParam) -> None:
        self._phone.on_transfer(self, prm.statusCode, prm.reason, final=prm.finalNotify)


def main() -> None:
    """Run one phone until its call is over."""
    options = option_parser(__doc__).parse_args()
    for path in (options.record, options.log):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        Softphone(options).run()
    except pj.Error as error:
        sys.exit(error.info())


if __name__ == "__main__":
    main()
