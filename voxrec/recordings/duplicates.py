"""Removes packets that arrived, and were recorded, twice, with the silence that Asterisk wrote for the other party."""

from collections.abc import Mapping

from voxrec.audio.displacement import has_duplicates
from voxrec.audio.meter import Meter
from voxrec.audio.pause_cuts import remove_cuts
from voxrec.audio.probe import probe
from voxrec.audio.surplus import find_surplus
from voxrec.model import Side
from voxrec.recordings.legs import Leg
from voxrec.recordings.work_files import WorkFiles


def remove_duplicates(
    legs: Mapping[Side, Leg], meters: Mapping[Side, Meter], work_files: WorkFiles
) -> Mapping[Side, Leg] | None:
    """Return the legs without their surplus; None if there is none, or too little to be worth it.

    ``meters`` have measured the legs. Raises AudioError and OSError.
    """
    if not any(has_duplicates(meter) for meter in meters.values()):
        return None
    cuts = find_surplus({side: leg.audio for side, leg in legs.items() if leg.audio is not None})
    if not cuts:
        return None
    cleaned = dict(legs)
    for side in cuts:
        leg = legs[side]
        assert leg.audio is not None, "only audio has a surplus"
        assert leg.info is not None, "audio has been examined"
        output = work_files.new(f"without-duplicates-{side}.wav")
        remove_cuts(leg.audio, output, cuts[side], leg.info.rate)
        cleaned[side] = Leg(output, probe(output), leg.repaired, leg.unreadable)
    return cleaned
