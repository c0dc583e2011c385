"""Check of the OpenID Connect provider."""

from collections.abc import Iterator
from http.client import HTTPException
from typing import Final

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok
from voxrec.doctor.http import get

_NAME: Final = "identity provider"
_SUCCESS: Final = 200


def check_identity_provider(config: Config) -> Iterator[Finding]:
    """Check that the provider publishes metadata and keys that voxrec accepts. It does not sign in."""
    from voxrec.oidc.errors import ProviderSignInError
    from voxrec.oidc.provider import metadata_url, parse_keys, parse_metadata

    settings = config.oidc
    if not settings.issuer:
        return
    url = metadata_url(settings.issuer)
    try:
        metadata = parse_metadata(_document(url, settings.ca_file), settings.issuer)
        url = metadata.jwks_uri
        keys = parse_keys(_document(url, settings.ca_file))
    except (OSError, HTTPException, _UnexpectedStatusError) as error:
        yield failed(_NAME, f"{url}: {error}", "check oidc.issuer, oidc.ca_file and the firewall")
        return
    except ProviderSignInError as error:
        yield failed(_NAME, f"{url}: {error.detail}", "set oidc.issuer to the issuer that the provider documents")
        return
    if keys:
        yield ok(_NAME, f"{settings.issuer} responds, and publishes {len(keys)} keys for signatures")
    else:
        yield failed(_NAME, f"{url} has no key for signatures", "choose an asymmetric algorithm for ID tokens there")


class _UnexpectedStatusError(Exception):
    """The provider responded with another status than 200."""


def _document(url: str, ca_file: str) -> object:
    status, content = get(url, ca_file=ca_file)
    if status != _SUCCESS:
        raise _UnexpectedStatusError(f"the provider responded with status {status}")
    return content
