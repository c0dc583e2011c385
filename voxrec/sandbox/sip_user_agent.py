"""A SIP user agent over UDP that sends each request exactly as a test composes it.

It has no media and no state machine: it is for requests that a well-behaved phone (`voxrec.sandbox.phone`) or SIPp
would not send; `voxrec.sandbox.scripted_peer` adds media. It answers all requests that it receives, with 200 unless it
is told otherwise for INVITE.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import DatagramProtocol

from voxrec.sandbox.asterisk import LOOPBACK, uri_host

_COMPACT_NAMES = {"call-id": "i", "to": "t", "from": "f", "via": "v", "contact": "m"}


@dataclass(frozen=True)
class SipMessage:
    """A received request or response: its start line and its headers, in order, with lower-case names."""

    start_line: str
    headers: tuple[tuple[str, str], ...]
    raw: bytes = b""

    @classmethod
    def parse(cls, datagram: bytes) -> Self:
        """Parse a datagram; a malformed header line has an empty value."""
        head = datagram.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        start_line, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start_line, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs), datagram)

    @property
    def status(self) -> int | None:
        """The status code of a response; None for a request."""
        return int(self.start_line.split()[1]) if self.start_line.startswith("SIP/2.0 ") else None

    @property
    def method(self) -> str:
        """The method of a request; empty for a response."""
        return "" if self.start_line.startswith("SIP/2.0 ") else self.start_line.partition(" ")[0]

    @property
    def transaction(self) -> tuple[str, str]:
        """What a request and its retransmissions have in common: the first Via, and the method (RFC 3261, 17.2.3)."""
        return self.header("via"), self.header("cseq").rpartition(" ")[2]

    @property
    def body(self) -> str:
        """The body as text."""
        return self.raw.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")

    def header(self, name: str) -> str:
        """Return the first value of a header, also if its name is in compact form; empty if there is none."""
        names = {name.lower(), _COMPACT_NAMES.get(name.lower(), name.lower())}
        return next((value for key, value in self.headers if key in names), "")

    def routes(self) -> list[str]:
        """Return the route set of the caller of the dialog that this response creates (RFC 3261 section 12.1.2)."""
        return [value for name, value in self.headers if name == "record-route"][::-1]


@dataclass(frozen=True)
class SipResponse:
    """A response to send: its status, further headers, and whether it has an SDP body.

    ``after`` is the time in seconds from the response before, or from the request, to this one.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    sdp: bool = False
    after: float = 0.0


OK: Final = SipResponse(200, sdp=True)
"""The response that answers a call."""


class SipUserAgent(DatagramProtocol):
    """A user agent at a loopback ``address`` that sends its requests to ``peer`` (host, UDP port).

    ``invite_responses`` are its responses to each INVITE, in order; it can be changed between calls.
    """

    def __init__(
        self, peer: tuple[str, int], address: str = LOOPBACK, *, invite_responses: Sequence[SipResponse] = (OK,)
    ) -> None:
        self._peer = peer
        self._address = address
        self._port: IListeningPort | None = None
        self._final_responses: dict[tuple[str, str], Deferred[SipMessage]] = {}  # by Call-ID and method
        self.invite_responses = invite_responses
        self.sends_contact = True
        """Whether responses without a Contact header of their own have the address of this user agent."""
        self._sequence = 1  # CSeq of the last request in the dialog of the last INVITE
        self._transfers: dict[str, int] = {}  # REFER requests in the dialogs of received INVITEs, by Call-ID
        self._sources: dict[str, tuple[str, int]] = {}  # of requests, by Call-ID
        self._tag = secrets.token_hex(4)
        self.received: list[SipMessage] = []
        """Everything that was received, in order, without retransmissions of requests."""
        self._last_responses: dict[tuple[str, str], bytes | None] = {}
        self._delayed: list[IDelayedCall] = []

    def listen(self, reactor: Any) -> None:
        """Bind a free UDP port."""
        self._clock: IReactorTime = reactor
        self._port = reactor.listenUDP(0, self, interface=self._address)

    async def stop(self) -> None:
        """Close the port."""
        self._cancel_delayed()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    @property
    def host_port(self) -> str:
        """The address and port of this user agent."""
        assert self._port is not None, "listen() comes first"
        return f"{uri_host(self._address)}:{self._port.getHost().port}"  # type: ignore[attr-defined] # IP address

    @property
    def tag(self) -> str:
        """The tag in the To header of its responses."""
        return self._tag

    def requests(self, method: str) -> list[SipMessage]:
        """Return the requests of a method that were received, in order."""
        return [message for message in self.received if message.start_line.startswith(f"{method} ")]

    def send(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        """Send a datagram as it is, by default to ``peer``."""
        assert self.transport is not None, "listen() comes first"
        self.transport.write(datagram, to or self._peer)

    async def request(
        self,
        clock: IReactorTime,
        method: str,
        user: str,
        *,
        from_: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        timeout: float = 20.0,
        request_uri: str = "",
    ) -> SipMessage:
        """Send a request to ``sip:user@peer``, or ``request_uri``, outside a dialog and return its final response.

        ``from_`` is the value of the From header without its tag. ``headers`` are added to, or replace, the usual ones.
        ``body`` defaults to an SDP offer of G.711 for INVITE. A final response to INVITE is acknowledged. Raises
        `twisted.internet.defer.TimeoutError` after ``timeout`` seconds without a final response.
        """
        call_id = (headers or {}).get("Call-ID") or f"{secrets.token_hex(8)}@{uri_host(self._address)}"
        uri = request_uri or f"sip:{user}@{uri_host(self._peer[0])}:{self._peer[1]}"
        if body is None:
            body = self.sdp_offer() if method == "INVITE" else ""
        fields = {
            "Via": f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}",
            "From": f"{from_ or f'<sip:tester@{uri_host(self._address)}>'};tag={secrets.token_hex(4)}",
            "To": f"<{uri}>",
            "Call-ID": call_id,
            "CSeq": f"1 {method}",
            "Contact": f"<sip:tester@{self.host_port}>",
            "Max-Forwards": "70",
            **({"Content-Type": "application/sdp" if method == "INVITE" else "text/plain"} if body else {}),
            **(headers or {}),
            "Content-Length": str(len(body.encode())),
        }
        final = self._final_responses[call_id, method] = Deferred()
        self.send_message(f"{method} {uri} SIP/2.0", fields, body)
        self._last_request = (uri, fields)
        response = await final.addTimeout(timeout, clock)
        if method == "INVITE":
            target, in_dialog = uri, {**fields, "To": response.header("to"), "Content-Length": "0"}
            in_dialog.pop("Content-Type", None)
            if response.status == OK.status and response.routes():
                target, in_dialog = self._dialog_of(response)
                in_dialog["Via"] = f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}"
            answer = self.sdp_in_ack(response)
            content = {"Content-Type": "application/sdp", "Content-Length": str(len(answer))} if answer else {}
            self.send_message(f"ACK {target} SIP/2.0", {**in_dialog, **content, "CSeq": "1 ACK"}, answer)
            self._dialog = (target, in_dialog)
        return response

    def sdp_in_ack(self, _response: SipMessage) -> str:
        """Return the SDP of the ACK for a final response to INVITE; empty unless a subclass makes late offers."""
        return ""

    def cancel(self) -> None:
        """Cancel the last INVITE, which has no final response yet."""
        uri, fields = self._last_request
        copied = {name: fields[name] for name in ("Via", "From", "To", "Call-ID", "Max-Forwards")}
        self.send_message(f"CANCEL {uri} SIP/2.0", {**copied, "CSeq": "1 CANCEL", "Content-Length": "0"})

    def hang_up(self) -> None:
        """Send BYE in the dialog of the last INVITE."""
        self._send_in_dialog("BYE")

    def refer(self, target: str) -> None:
        """Send REFER to the SIP URI ``target`` in the dialog of the last INVITE."""
        self._send_in_dialog("REFER", {"Refer-To": f"<{target}>"})

    def update(self) -> None:
        """Send UPDATE without SDP (RFC 3311) in the dialog of the last INVITE."""
        self._send_in_dialog("UPDATE")

    def acknowledge_provisional(self, response: SipMessage) -> None:
        """Send PRACK for a reliable provisional response to the last INVITE (RFC 3262)."""
        self._dialog = self._dialog_of(response)
        self._send_in_dialog("PRACK", {"RAck": f"{response.header('rseq')} {response.header('cseq')}"})

    def _dialog_of(self, response: SipMessage) -> tuple[str, dict[str, str]]:
        """Return Request-URI and headers of requests in the dialog that a response to the last INVITE creates."""
        uri, fields = self._last_request
        in_dialog = {**fields, "To": response.header("to"), "Content-Length": "0"}
        in_dialog.pop("Content-Type", None)
        if routes := response.routes():
            uri = response.header("contact").partition("<")[2].partition(">")[0]
            in_dialog["Route"] = ", ".join(routes)
        return uri, in_dialog

    def _send_in_dialog(self, method: str, headers: Mapping[str, str] | None = None) -> None:
        uri, fields = self._dialog
        self._sequence += 1
        branch = f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}"
        changed = {"Via": branch, "CSeq": f"{self._sequence} {method}", **(headers or {})}
        self.send_message(f"{method} {uri} SIP/2.0", {**fields, **changed})

    def transfer(self, invite: SipMessage, target: str) -> None:
        """Send REFER to the SIP URI ``target`` in the dialog of a received INVITE, to which it has responded."""
        contact = invite.header("contact").partition("<")[2].partition(">")[0]
        call_id = invite.header("call-id")
        self._transfers[call_id] = sequence = self._transfers.get(call_id, 0) + 1
        fields = {
            "Via": f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}",
            "From": f"{invite.header('to')};tag={self._tag}",
            "To": invite.header("from"),
            "Call-ID": call_id,
            "CSeq": f"{sequence} REFER",
            "Contact": f"<sip:tester@{self.host_port}>",
            "Max-Forwards": "70",
            "Refer-To": f"<{target}>",
            "Content-Length": "0",
        }
        self.send_message(f"REFER {contact} SIP/2.0", fields)

    def sdp_offer(self) -> str:
        """Return an SDP offer, or answer, of G.711 at the discard port: there is no media."""
        network = sdp_address(self._address)
        lines = ["v=0", f"o=- 1 1 {network}", "s=-", f"c={network}", "t=0 0"]
        return "\r\n".join([*lines, "m=audio 9 RTP/AVP 0 8", ""])

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass a final response to its request, and answer requests.

        A retransmission of a request, which arrives when this process was busy for longer than T1 (0.5 s), gets the
        last response once more (RFC 3261, sections 17.2.1 and 17.2.2).
        """
        message = SipMessage.parse(datagram)
        if message.status is not None:
            self.received.append(message)
            self.response_received(message)
        elif message.transaction not in self._last_responses:
            self._last_responses[message.transaction] = None
            self._sources[message.header("call-id")] = addr
            self.received.append(message)
            self.request_received(message)
        elif (response := self._last_responses[message.transaction]) is not None:
            self.send(response, addr)

    def response_received(self, response: SipMessage) -> None:
        """Pass a final response to its request."""
        if (response.status or 0) >= OK.status:
            request = response.header("call-id"), response.header("cseq").rpartition(" ")[2]
            self._final_responses.pop(request, Deferred()).callback(response)

    def request_received(self, request: SipMessage) -> None:
        """Answer a request with 200, and INVITE as `responses_to` says; a cancelled INVITE gets 487."""
        if request.method == "ACK":
            return
        if request.method == "CANCEL":
            self._cancel_delayed()
            for invite in self.requests("INVITE"):
                if invite.header("call-id") == request.header("call-id"):
                    self.respond(invite, 487)
        delay = 0.0
        for response in self.responses_to(request) if request.method == "INVITE" else (SipResponse(200),):
            arguments = request, response.status, self.sdp_offer() if response.sdp else "", response.headers
            delay += response.after
            if delay:
                self._delayed.append(self._clock.callLater(delay, self.respond, *arguments))
            else:
                self.respond(*arguments)

    def _cancel_delayed(self) -> None:
        delayed, self._delayed = self._delayed, []
        for call in delayed:
            if call.active():
                call.cancel()

    def responses_to(self, _invite: SipMessage) -> Sequence[SipResponse]:
        """Return the responses to an INVITE; a subclass can choose them by its content."""
        return self.invite_responses

    def respond(
        self, request: SipMessage, status: int, body: str = "", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send a response to where a request came from; ``body`` is SDP."""
        copied = {"via", "v", "from", "f", "call-id", "i", "cseq", "record-route"}
        lines = [f"{name}: {value}" for name, value in request.headers if name in copied]
        to = request.header("to")
        lines.append(f"To: {to}" if ";tag=" in to else f"To: {to};tag={self._tag}")
        lines.extend(f"{name}: {value}" for name, value in headers)
        if self.sends_contact and not any(name.lower() == "contact" for name, _ in headers):
            lines.append(f"Contact: <sip:tester@{self.host_port}>")
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body)}")
        datagram = "\r\n".join([f"SIP/2.0 {status} Test", *lines, "", body]).encode()
        self._last_responses[request.transaction] = datagram
        self.send(datagram, self._sources.get(request.header("call-id")))

    def send_message(self, start_line: str, fields: Mapping[str, str], body: str = "") -> None:
        """Send a message with exactly these headers."""
        lines = [start_line, *(f"{name}: {value}" for name, value in fields.items()), "", body]
        self.send("\r\n".join(lines).encode())


def sdp_address(address: str) -> str:
    """Return network type, address type and address, as in the lines o= and c= of an SDP."""
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"
