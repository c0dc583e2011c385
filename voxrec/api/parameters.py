"""Query parameters that several resources share."""

from voxrec.web.parameters import uuids

profile_ids = uuids("One or more Profile ids, separated by commas.")
