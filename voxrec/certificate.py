"""TLS certificates: a server endpoint that can reload its own while it listens, and those that a client trusts."""

import re
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IProtocolFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from voxrec.errors import VoxrecError

INVALID_CERTIFICATE: Final = (OSError, ValueError, VerifyError, crypto.Error, SSL.Error)
"""The exceptions of Twisted and OpenSSL for files that contain no valid certificate with its private key."""

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CertificateError(VoxrecError):
    """The files of a TLS endpoint contain no valid certificate with its private key, or a CA file no certificate."""

    code = "certificate"


def trust_root(ca_file: Path | None) -> Any:
    """Return the certificates that a TLS client trusts: those in a PEM file, or those of the system.

    Raises `CertificateError` if the file cannot be read, or contains none.
    """
    if ca_file is None:
        return ssl.platformTrust()
    try:
        certificates = _CERTIFICATE.findall(ca_file.read_bytes())
        authorities = [ssl.Certificate.loadPEM(certificate) for certificate in certificates]
    except (OSError, crypto.Error) as error:
        raise CertificateError(f"{ca_file} cannot be read: {type(error).__name__}: {error}") from error
    if not authorities:
        raise CertificateError(f"{ca_file} contains no certificate")
    return ssl.trustRootFromCertificates(authorities)


class ReloadableEndpoint:
    """The Twisted server endpoint ``description``. If it is an ``ssl:`` endpoint, its files can be read again."""

    def __init__(self, reactor: Any, description: str) -> None:
        self._reactor = reactor
        self._description = description
        self._certificate = _Certificate()

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, as `twisted.internet.interfaces.IStreamServerEndpoint.listen` does."""
        endpoint = serverFromString(_ListeningReactor(self._reactor, self._certificate), self._description)
        listening: Deferred[IListeningPort] = endpoint.listen(factory)
        return listening

    def reload_certificate(self) -> bool:
        """Read the certificate and its key again, for the following connections.

        Return False if the endpoint has none, or does not listen yet. Raises `CertificateError` if the files are
        invalid; the previous certificate then stays in use.
        """
        if self._certificate.context_factory is None:
            return False
        reader = _CertificateReader()
        try:
            serverFromString(reader, self._description).listen(Factory())
            reader.context_factory.getContext()  # checks that the key belongs to the certificate
        except INVALID_CERTIFICATE as error:
            raise CertificateError(f"cannot use the certificate of {self._description}: {error}") from error
        self._certificate.context_factory = reader.context_factory
        return True


@implementer(IOpenSSLContextFactory)
class _Certificate:
    """The context factory that Twisted asks for the TLS context of each connection."""

    def __init__(self) -> None:
        self.context_factory: Any = None

    def getContext(self) -> SSL.Context:
        context: SSL.Context = self.context_factory.getContext()
        return context


class _ListeningReactor:
    """The reactor, but TLS ports use the context factory ``certificate``."""

    def __init__(self, reactor: Any, certificate: _Certificate) -> None:
        self._reactor = reactor
        self._certificate = certificate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(  # noqa: N802 - Twisted's name
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803
        backlog: int = 50,
        interface: str = "",
    ) -> Any:
        self._certificate.context_factory = contextFactory
        return self._reactor.listenSSL(port, factory, self._certificate, backlog, interface)


class _CertificateReader:
    """A reactor that does not listen: it only takes the context factory that the endpoint has read."""

    def __init__(self) -> None:
        self.context_factory: Any = None

    def listenSSL(  # noqa: N802 - Twisted's name
        self,
        _port: int,
        _factory: object,
        contextFactory: Any,  # noqa: N803
        **_options: Any,
    ) -> None:
        self.context_factory = contextFactory
