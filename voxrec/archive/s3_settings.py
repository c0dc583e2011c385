"""How to reach and use an S3 store, and the parameters of its operations that follow from that."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from voxrec.archive.interface import ObjectLock, StoreError
from voxrec.config import S3
from voxrec.config_values import customer_keys

RETENTION_MODES: Final[Mapping[str, Literal["GOVERNANCE", "COMPLIANCE"]]] = MappingProxyType(
    {"governance": "GOVERNANCE", "compliance": "COMPLIANCE"}
)
"""The mode of Object Lock that retains objects, by the value of the setting `s3.object_lock`."""
MAX_SINGLE_UPLOAD: Final = 16_777_216  # bytes; a larger file is uploaded in parts

COMPLETION_TIMEOUT: Final = 600.0
"""Seconds for CompleteMultipartUpload, which "could take several minutes" (S3 API): some stores copy all parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """How to reach and use the store.

    - ``endpoint``: URL of the store, "" for AWS; ``addressing``: whether the bucket is part of the host name;
    - ``access_key``, ``secret_key``: "" for the standard credential chain of AWS;
    - ``encryption``: by the store with its key (s3), with one of KMS (kms), or with ours (customer, SSE-C);
    - ``customer_keys``: 32 bytes each; the first one encrypts, and all of them decrypt;
    - ``retention``: the Object Lock mode of objects whose Recordings expire, if any;
    - ``part_size``: of an upload in parts, in bytes; ``parts_per_upload``: how many are sent at the same time;
    - ``timeout``, ``completion_timeout``, ``connections``: see `BoundedSession`.
    """

    endpoint: str = ""
    region: str = ""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    access_key: str = ""
    secret_key: str = ""
    ca_file: str = ""
    encryption: Literal["none", "s3", "kms", "customer"] = "none"
    kms_key: str = ""
    customer_keys: tuple[bytes, ...] = ()
    retention: Literal["", "GOVERNANCE", "COMPLIANCE"] = ""
    storage_class: str = ""
    part_size: int = MAX_SINGLE_UPLOAD
    parts_per_upload: int = 4
    timeout: float = 30.0
    completion_timeout: float = COMPLETION_TIMEOUT
    connections: int = 32

    def object_options(self, sha256: str, media_type: str, lock: ObjectLock) -> dict[str, Any]:
        """Return the parameters of a new object with this SHA-256, in hex."""
        options: dict[str, Any] = {"ContentType": media_type, "Metadata": {"sha256": sha256}, **self.customer_key()}
        if self.encryption == "s3":
            options["ServerSideEncryption"] = "AES256"
        elif self.encryption == "kms":
            options["ServerSideEncryption"] = "aws:kms"
            if self.kms_key:
                options["SSEKMSKeyId"] = self.kms_key
        if self.storage_class:
            options["StorageClass"] = self.storage_class
        if lock.hold:
            options["ObjectLockLegalHoldStatus"] = "ON"
        if self.retention and is_future(lock.retain_until):
            options["ObjectLockMode"] = self.retention
            options["ObjectLockRetainUntilDate"] = lock.retain_until
        return options

    def require_encryption(self, response: Mapping[str, Any]) -> None:
        """Raise StoreError unless the response to the creation of an object says that it is encrypted as demanded.

        A store that does not know a header ignores it.
        """
        name = "SSECustomerAlgorithm" if self.encryption == "customer" else "ServerSideEncryption"
        expected = {"none": None, "s3": "AES256", "kms": "aws:kms", "customer": "AES256"}[self.encryption]
        if expected is not None and response.get(name) != expected:
            raise StoreError(
                f"the store does not encrypt objects as s3.encryption {self.encryption} demands: it responds with "
                f"{response.get(name, 'no encryption')} instead of {expected}",
                "NotEncrypted",
                refused=True,
            )

    def customer_key(self, md5: str | None = None) -> dict[str, Any]:
        """Return the parameters of SSE-C with the key that has this MD5; by default the one that encrypts."""
        if md5 is None and self.encryption != "customer":
            return {}
        for key in self.customer_keys:
            if md5 in (None, _md5(key)):
                return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        raise StoreError(
            f"no customer key in the settings has the MD5 {md5}, with which the object is encrypted", "NoKey"
        )

    def customer_key_md5(self) -> str | None:
        """Return the MD5 of the customer key that encrypts new objects; None without SSE-C."""
        return _md5(self.customer_keys[0]) if self.encryption == "customer" else None


def settings_of(section: S3, connections: int = 32) -> S3Settings:
    """Return the settings that are in the settings file. ``connections`` may be open at the same time."""
    return S3Settings(
        endpoint=section.endpoint,
        region=section.region,
        addressing=section.addressing,
        access_key=section.access_key,
        secret_key=section.secret_key,
        ca_file=section.ca_file,
        encryption=section.encryption,
        kms_key=section.kms_key,
        customer_keys=customer_keys(section.customer_keys),
        retention=RETENTION_MODES.get(section.object_lock, ""),
        storage_class=section.storage_class,
        part_size=section.part_size,
        parts_per_upload=section.parts_per_upload,
        timeout=section.timeout,
        connections=connections,
    )


def is_future(time: datetime | None) -> bool:
    """Return whether there is a time, and it has not come yet; a store refuses to retain objects until the past."""
    return time is not None and time > datetime.now(UTC)


def _md5(key: bytes) -> str:
    return base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
