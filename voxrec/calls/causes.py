"""Q.850 causes, as Asterisk uses them to say which SIP status a caller gets (its ``hangup_cause2sip``)."""

from enum import IntEnum


class Cause(IntEnum):
    """Why a call ends. The comment is the SIP status of an unanswered call."""

    UNALLOCATED = 1  # 404
    NORMAL = 16  # BYE after the answer
    BUSY = 17  # 486
    NO_ANSWER = 19  # 480
    REJECTED = 21  # 403
    CONGESTION = 34  # 503
