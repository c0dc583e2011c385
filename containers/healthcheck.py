#!/usr/bin/python3 -IS
"""The HEALTHCHECK of the image: exits with 0 if voxrec is ready, and prints what is missing otherwise.

The environment variable HEALTH_URL replaces the URL, for another port or HTTPS. The certificate is not verified: it is
that of the public name, not of the loopback address.
"""

import os
import ssl
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT_SECONDS = 8.0
URL = os.environ.get("HEALTH_URL") or "http://127.0.0.1:8080/health/ready"

try:
    with urlopen(URL, timeout=TIMEOUT_SECONDS, context=ssl._create_unverified_context()) as response:  # noqa: S310, S323, SLF001 - loopback
        sys.stdout.write(response.read(4096).decode(errors="replace"))
except HTTPError as error:
    sys.exit(f"{error.code}: {error.read(4096).decode(errors='replace')}")
except OSError as error:
    sys.exit(f"{URL}: {error}")
