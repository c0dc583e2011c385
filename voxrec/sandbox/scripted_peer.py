"""A SIP user agent with media that follows a script: a caller or callee that a well-behaved phone cannot imitate.

Its audio is recognisable noise (`voxrec.sandbox.noise`), and its RTP can be impaired (`voxrec.sandbox.rtp`).
`voxrec.sandbox.fidelity` measures what the other party heard, and what was recorded.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.rtp import CODECS, PCMU, Codec
from voxrec.sandbox.sip_user_agent import SipMessage, SipUserAgent, sdp_address

_REQUEST_TIMEOUT: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CalleeScript:
    """How a callee reacts to INVITE: 180 at once unless ``ring_seconds`` is 0, 183 with media, and 200.

    ``ring_seconds`` is the time from INVITE to 200, or to 183 if there is early media; ``early_media_seconds`` the time
    from 183 to 200. ``answers`` is false for a callee that never answers.
    """

    ring_seconds: float = 0.05
    early_media_seconds: float | None = None
    answers: bool = True


class ScriptedPeer(SipUserAgent):
    """A party with one call at a time.

    ``peer`` is where its requests go. ``codecs`` are those that it offers or accepts, the preferred one first.
    ``late_offer``: the INVITE contains no SDP, and the ACK the answer. ``media_before_ack``: a caller sends its first
    packets as soon as the 200 arrives, before the ACK, which follows ``ack_delay`` seconds later.
    """

    def __init__(
        self,
        reactor: Any,
        peer: tuple[str, int],
        media: MediaStream,
        *,
        address: str = LOOPBACK,
        codecs: tuple[Codec, ...] = (PCMU,),
        late_offer: bool = False,
        ack_delay: float = 0.0,
        script: CalleeScript | None = None,
    ) -> None:
        super().__init__(peer, address)
        self._reactor = reactor
        self.media = media
        self._codecs = codecs
        self._late_offer = late_offer
        self._ack_delay = ack_delay
        self._script = script or CalleeScript()
        self._dialog_of_callee: SipMessage | None = None
        self._session_version = 1
        self._direction = "sendrecv"
        self._cseq = 1
        self.answered_at: float | None = None
        """The reactor's time at which the call was answered."""
        self.answered: Deferred[None] = Deferred()
        """Fires when the callee has sent 200."""
        self.acknowledged: Deferred[None] = Deferred()
        """Fires when the callee has received the ACK of its 200."""
        self.ended: Deferred[None] = Deferred()
        """Fires when the other side has sent BYE."""

    def start(self) -> "ScriptedPeer":
        """Open the ports, and return the peer."""
        self.listen(self._reactor)
        self.media.listen()
        return self

    async def close(self) -> None:
        """Close the ports."""
        self.media.close()
        await self.stop()

    @property
    def uri(self) -> str:
        """The SIP URI under which the callee can be called."""
        return f"sip:desk@{self.host_port}"

    # As caller.

    async def call(self, user: str, **arguments: Any) -> SipMessage:
        """Call ``sip:user@peer`` and return the final response; media begin with a 200."""
        offer = "" if self._late_offer else self.sdp_offer()
        return await self.request(self._reactor, "INVITE", user, body=offer, timeout=_REQUEST_TIMEOUT, **arguments)

    def response_received(self, response: SipMessage) -> None:
        """Begin to send when the answer arrives; acknowledge it ``ack_delay`` later."""
        if response.status == 200 and response.header("cseq").endswith(" INVITE") and self.answered_at is None:
            self._begin(response.body)
            if self._ack_delay:
                self._reactor.callLater(self._ack_delay, super().response_received, response)
                return
        super().response_received(response)

    def sdp_in_ack(self, response: SipMessage) -> str:
        """Return the answer to the offer of the 200, if the INVITE had none."""
        return self.sdp_offer(response.body) if self._late_offer and response.status == 200 else ""

    async def reinvite(self, *, hold: bool = False, new_port: bool = False) -> SipMessage:
        """Change the session: to hold or back, and to another RTP port. Return the final response."""
        self._direction = "sendonly" if hold else "sendrecv"
        if new_port:
            self.media.move_to_new_port()
        if hold:
            self.media.direct(None)
        response = await self._request_in_dialog("INVITE", self.sdp_offer())
        if response.status == 200 and not hold:
            self.media.direct(rtp_address(response.body))
        return response

    async def send_info(self, digit: str) -> SipMessage:
        """Send a DTMF digit as INFO, and return the final response."""
        return await self._request_in_dialog("INFO", f"Signal={digit}\r\nDuration=160\r\n", "application/dtmf-relay")

    async def hang_up_call(self) -> None:
        """Send BYE in the dialog, and wait for its response."""
        await self._request_in_dialog("BYE")

    async def _request_in_dialog(
        self, method: str, body: str = "", content_type: str = "application/sdp"
    ) -> SipMessage:
        target, fields = self._dialog_fields()
        self._cseq += 1
        fields = {
            **fields,
            "Via": f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}",
            "CSeq": f"{self._cseq} {method}",
            "Contact": f"<sip:tester@{self.host_port}>",
            "Max-Forwards": "70",
            "Content-Length": str(len(body)),
            **({"Content-Type": content_type} if body else {}),
        }
        final = self._final_responses[fields["Call-ID"], method] = Deferred()
        self.send_message(f"{method} {target} SIP/2.0", fields, body)
        response = await final.addTimeout(_REQUEST_TIMEOUT, self._reactor)
        if method == "INVITE":
            ack = {**fields, "CSeq": f"{self._cseq} ACK", "Content-Length": "0"}
            ack.pop("Content-Type", None)
            self.send_message(f"ACK {target} SIP/2.0", ack)
        return response

    def _dialog_fields(self) -> tuple[str, dict[str, str]]:
        if (invite := self._dialog_of_callee) is None:
            target, fields = self._dialog
            return target, dict(fields)
        to = invite.header("to")
        return invite.header("contact").partition("<")[2].partition(">")[0], {
            "From": to if ";tag=" in to else f"{to};tag={self._tag}",
            "To": invite.header("from"),
            "Call-ID": invite.header("call-id"),
        }

    # As callee.

    def request_received(self, request: SipMessage) -> None:
        """Follow the script for the first INVITE; accept later ones (re-INVITE), and everything else."""
        if request.method == "INVITE" and self._dialog_of_callee is None and ";tag=" not in request.header("to"):
            self._dialog_of_callee = request
            Deferred.fromCoroutine(self._follow_script(request))
            return
        if request.method == "INVITE":
            self.respond(request, 200, self.sdp_offer(request.body))
            if self._direction != "sendonly":
                self.media.direct(rtp_address(request.body))
            return
        if request.method == "ACK":
            if self._dialog_of_callee is not None and not self.acknowledged.called:
                self.acknowledged.callback(None)
            return
        self.respond(request, 200)
        if request.method in ("BYE", "CANCEL"):
            self.media.direct(None)
            if not self.ended.called:
                self.ended.callback(None)

    async def _follow_script(self, invite: SipMessage) -> None:
        script = self._script
        if script.ring_seconds:
            self.respond(invite, 180)
            await deferLater(self._reactor, script.ring_seconds)
        if script.early_media_seconds is not None:
            self.respond(invite, 183, self.sdp_offer(invite.body))
            self._send_media(invite.body)
            await deferLater(self._reactor, script.early_media_seconds)
        if not script.answers or self.ended.called:
            return
        self.respond(invite, 200, self.sdp_offer(invite.body))
        self._begin(invite.body)
        self.answered.callback(None)

    # Media.

    def _begin(self, remote_sdp: str) -> None:
        self.answered_at = self._reactor.seconds()
        if not self.media.started:
            self._send_media(remote_sdp)

    def _send_media(self, remote_sdp: str) -> None:
        agreed = [codec for codec in self._codecs if codec.payload_type in payload_types(remote_sdp)]
        if agreed:
            self.media.use_codec(agreed[0])
        self.media.send(rtp_address(remote_sdp))

    def sdp_offer(self, remote: str = "") -> str:
        """Return an SDP offer; with the SDP of the other party, an answer with the codecs that both have."""
        offered = payload_types(remote) if remote else {codec.payload_type for codec in self._codecs}
        codecs = [codec for codec in self._codecs if codec.payload_type in offered] or list(self._codecs[:1])
        lines = ["v=0", f"o=- 1 {self._session_version} {sdp_address(self._address)}", "s=-"]
        self._session_version += 1
        lines += [f"c={sdp_address(self._address)}", "t=0 0"]
        lines.append(f"m=audio {self.media.port} RTP/AVP {' '.join(str(codec.payload_type) for codec in codecs)}")
        lines += [f"a=rtpmap:{codec.payload_type} {codec.name}/8000" for codec in codecs]
        direction = {"sendonly": "recvonly"}.get(_direction(remote), self._direction) if remote else self._direction
        lines += [f"a=ptime:{self.media.ptime}", f"a={direction}", ""]
        return "\r\n".join(lines)


def rtp_address(sdp: str) -> tuple[str, int]:
    """Return the host and port of the audio of an SDP. Raises ValueError if it has none."""
    host = re.search(r"^c=IN IP[46] (\S+)", sdp, re.MULTILINE)
    port = re.search(r"^m=audio (\d+)", sdp, re.MULTILINE)
    if host is None or port is None:
        raise ValueError(f"SDP without audio: {sdp!r}")
    return host[1], int(port[1])


def payload_types(sdp: str) -> set[int]:
    """Return the payload types of the audio of an SDP that are known here."""
    found = re.search(r"^m=audio \d+ \S+ ([\d ]+)", sdp, re.MULTILINE)
    return {int(number) for number in found[1].split()} & set(CODECS) if found else set()


def _direction(sdp: str) -> str:
    found = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", sdp, re.MULTILINE)
    return found[1] if found else "sendrecv"
