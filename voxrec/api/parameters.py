"""Query parameters that several resources share."""

from voxrec.web.parameters import uuids

profile_ids = uuids("Only items of these profiles: one or more ids, separated by commas.")
