"""Translates the exceptions of boto3 into those of the archive, with a reason that an operator understands."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, ParamValidationError

from voxrec.archive.interface import FileDamaged, StoreError
from voxrec.errors import NotFound, VoxrecError
from voxrec.retry_after import retry_after_seconds
from voxrec.sanitize import sanitize_line

_MAX_RETRY_AFTER: Final = 3600.0  # seconds; a store cannot delay an upload for longer
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_OVERLOADED: Final = frozenset(
    {"SlowDown", "503", "429", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded"}
)
_SLOW_DOWN_DELAY: Final = 10.0  # seconds, unless the store names another time
_REASONS: Final = {
    "RequestTimeTooSkewed": "the clock of this machine and that of the store differ too much; synchronize it (NTP)",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "InvalidAccessKeyId": "the access key is unknown to the store",
    "AccessDenied": "the credentials do not permit this, or the object is locked",
    "BadDigest": "the content arrived damaged: its SHA-256 differs",
    "XAmzContentChecksumMismatch": "the content arrived damaged: its SHA-256 differs",
    "NoSuchBucket": "the bucket does not exist",
}


@contextmanager
def translate_errors(operation: str) -> Iterator[None]:
    """Raise NotFound if the object does not exist, StoreError otherwise. ``operation`` begins the detail.

    Errors of voxrec itself and of local files are not changed.
    """
    try:
        yield
    except ClientError as error:
        raise _client_error(operation, error) from error
    except NoCredentialsError as error:
        detail = "no credentials were found: set s3.access_key and s3.secret_key, or provide them to the AWS chain"
        raise StoreError(f"{operation}: {detail}", "NoCredentials") from error
    except ParamValidationError as error:
        raise StoreError(f"{operation}: {sanitize_line(str(error))}", "InvalidSetting") from error
    except (BotoCoreError, Boto3Error, HTTPClientError) as error:
        raise StoreError(f"{operation}: {sanitize_line(str(error))}", type(error).__name__) from error
    except (VoxrecError, FileDamaged, OSError):
        raise
    except Exception as error:  # botocore's parsers raise many types, and what the response lacks is a KeyError
        reason = sanitize_line(f"{type(error).__name__}: {error}")
        raise StoreError(f"{operation}: the response of the store is invalid: {reason}", "InvalidResponse") from error


def _client_error(operation: str, error: ClientError) -> NotFound | StoreError:
    response = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode")
    if code in _MISSING:
        return NotFound(f"{operation}: the object does not exist")
    explanation = _REASONS.get(code) or _REASONS.get(str(status)) or str(response.get("Error", {}).get("Message", ""))
    return StoreError(
        sanitize_line(f"{operation}: the store answered {status} {code}: {explanation}"),
        code or str(status),
        retry_after=_retry_after(metadata.get("HTTPHeaders", {}), overloaded=code in _OVERLOADED),
        refused=True,
    )


def _retry_after(headers: dict[str, str], *, overloaded: bool) -> float:
    """Return the delay in seconds that the response demands, at most an hour."""
    seconds = retry_after_seconds(headers.get("retry-after", ""), datetime.now(UTC), _MAX_RETRY_AFTER)
    if seconds is None:
        return _SLOW_DOWN_DELAY if overloaded else 0.0
    return seconds
