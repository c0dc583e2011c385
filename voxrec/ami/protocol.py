"""One AMI connection: sends actions and matches the responses to them by ActionID."""

import secrets
from collections.abc import Mapping
from itertools import count
from typing import cast

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, ITCPTransport, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from voxrec.ami.messages import BANNER, LINE_LIMIT, AmiProtocolError, MessageDecoder, encode_action
from voxrec.errors import AsteriskUnavailable, CommandNotSent, VoxrecError
from voxrec.pending_requests import PendingRequests


class AmiResponseError(VoxrecError):
    """Asterisk answered an action with an error. ``message`` is its text."""

    status = 502
    code = "asterisk-refused"

    def __init__(self, action: str, message: str) -> None:
        super().__init__(f"Asterisk refused the AMI action {action}: {message}")
        self.message = message

    @property
    def channel_gone(self) -> bool:
        """Whether the channel of the action has ended meanwhile: an ordinary race with a party that hangs up."""
        return self.message == "No such channel"


class AmiResponse(msgspec.Struct, frozen=True):
    """The response to an action. ``fields`` are all its fields."""

    fields: Mapping[str, str]


class AmiProtocol(LineOnlyReceiver):
    """One connection. ``timeout`` is the time limit of an action in seconds.

    If an action has no response within it, the connection is closed: Asterisk may execute the action later, and what
    a later connection asks for must not be mixed up with it.

    ``greeted`` fires with the major version of AMI when the peer has sent Asterisk's banner, ``closed`` when the
    connection has closed; ``close_reason`` is the reason. Events are ignored: voxrec receives those of calls from ARI,
    and the login asks for none.
    """

    MAX_LENGTH = LINE_LIMIT

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self.greeted: Deferred[int] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.close_reason = ""
        self._decoder = MessageDecoder()
        self._pending: PendingRequests[AmiResponse] = PendingRequests(clock, timeout, self._timed_out)
        # The value of a channel variable can contain line feeds, and so what looks like a response: nobody who sets
        # one can guess an ActionID.
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self._is_open = False

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """Send an action immediately, and return a Deferred of the response.

        The Deferred fails with `AmiResponseError` if Asterisk refuses the action, with `CommandNotSent` if the
        connection has closed, with another `AsteriskUnavailable` if no response arrives, and with `InvalidInput` for a
        value that AMI cannot carry. If no response arrives, the action may have been executed.
        """
        action_id = f"{self._id_prefix}-{next(self._numbers)}"
        try:
            data = encode_action(action, action_id, fields)
        except VoxrecError:
            return fail(Failure())
        if not self._is_open:
            return fail(CommandNotSent(f"the AMI connection closed before {action} was sent"))
        result = self._pending.add(action_id, action)
        _open(self.transport).write(data)
        return result

    def close(self, reason: str) -> None:
        """Close the connection without waiting for data that is still to be sent."""
        if self._is_open:
            self._is_open = False
            self.close_reason = reason
            _open(self.transport).abortConnection()

    def connectionMade(self) -> None:
        """Wait for the banner."""
        self._is_open = True
        if ITCPTransport.providedBy(self.transport):  # not with TLS over a transport of another kind
            self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Handle a line without its end."""
        if not self.greeted.called:
            banner = BANNER.fullmatch(line)
            if banner is not None:
                self.greeted.callback(int(banner[1]))
            else:
                self.close("the peer did not send the banner of AMI")
            return
        try:
            message = self._decoder.line_received(line)
        except AmiProtocolError as error:
            self.close(str(error))
            return
        if message is not None and "Response" in message:
            self._response_received(message)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        """Close the connection."""
        self.close(f"the peer sent a line of more than {self.MAX_LENGTH} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the actions without a response."""
        self._is_open = False
        self.close_reason = self.close_reason or reason.getErrorMessage()
        self._pending.fail_all(f"the AMI connection closed: {self.close_reason}")
        if not self.greeted.called:
            self.greeted.errback(AsteriskUnavailable(self.close_reason))
        self.closed.callback(None)

    def _timed_out(self, action: str) -> None:
        self.close(f"no response to {action} in time")

    def _response_received(self, fields: Mapping[str, str]) -> None:
        request = self._pending.pop(fields.get("ActionID", ""))
        if request is None:
            return  # it came after the time limit
        if fields["Response"] == "Error":
            request.result.errback(AmiResponseError(request.description, fields.get("Message", "no reason given")))
        else:
            request.result.callback(AmiResponse(fields))


def _open(transport: ITransport | None) -> ITCPTransport:
    return cast("ITCPTransport", transport)  # with TLS too
