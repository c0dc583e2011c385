"""An OpenID Connect provider on a loopback port, of which tests replace any answer."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.database import reactor

CLIENT_ID = "voxrec"
CLIENT_SECRET = "a secret: with %"
Answer = Callable[[Request], bytes | int]


def rsa_key(kid: str) -> RSAKey:
    """Return a new key."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


def ec_key(kid: str) -> ECKey:
    """Return a new key."""
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})


class FakeProvider(Resource):
    """Answers as a provider does. ``answers`` replaces answers by path; ``claims`` are those of the next ID token.

    ``token_requests`` has the fields and the headers of the requests for tokens.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[Any] = [rsa_key("first")]
        self.signing_key: Any = self.keys[0]
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "first"}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.answers: dict[str, Answer] = {}
        self.id_token: str | None = None
        self.token_requests: list[tuple[dict[str, str], str]] = []
        self.requested: list[str] = []
        self._unanswered: list[Request] = []

    async def start(self) -> None:
        """Listen."""
        self._port: IListeningPort = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(self))
        self.issuer = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Close all connections that were not answered, and stop to listen."""
        for request in self._unanswered:
            if request.channel is not None:
                request.channel.loseConnection()
        await maybeDeferred(self._port.stopListening)

    def hang(self, request: Request) -> int:
        """Answer nothing."""
        self._unanswered.append(request)
        request.notifyFinish().addErrback(lambda _: None)
        return NOT_DONE_YET

    def drip(self, request: Request) -> int:
        """Answer one byte now, and never the rest."""
        request.write(b"{")
        return self.hang(request)

    def token_for(self, **claims: Any) -> str:
        """Return an ID token with ``claims``, signed by ``signing_key``."""
        return jwt.encode(self.header, claims, self.signing_key, algorithms=[self.header["alg"]])

    def render(self, request: Request) -> bytes | int:
        """Answer a request."""
        path = request.path.decode()
        self.requested.append(path)
        request.setHeader("Content-Type", "application/json")
        if path in self.answers:
            return self.answers[path](request)
        if path == "/token":
            return self._issue_token(request)
        documents: dict[str, Any] = {
            "/.well-known/openid-configuration": self._metadata(),
            "/keys": KeySet(list(self.keys)).as_dict(private=False),
            "/userinfo": self.userinfo,
        }
        return msgspec.json.encode(documents[path])

    def _metadata(self) -> dict[str, Any]:
        endpoints = {"token_endpoint": "/token", "jwks_uri": "/keys", "userinfo_endpoint": "/userinfo"}
        urls = {name: f"{self.issuer}{path}" for name, path in endpoints.items()}
        authorization = {"authorization_endpoint": f"{self.issuer}/authorize?tenant=1"}
        return {"issuer": self.issuer, **authorization, **urls, **self.metadata}

    def _issue_token(self, request: Request) -> bytes:
        assert request.content is not None
        fields = {name: values[0] for name, values in parse_qs(request.content.read().decode()).items()}
        self.token_requests.append((fields, request.getHeader("authorization") or ""))
        id_token = self.token_for(**self.claims) if self.id_token is None else self.id_token
        return msgspec.json.encode({"id_token": id_token, "access_token": "access", "token_type": "Bearer"})


async def started_provider() -> FakeProvider:
    """Return a provider that listens."""
    provider = FakeProvider()
    await provider.start()
    return provider
