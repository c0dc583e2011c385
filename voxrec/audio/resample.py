"""Legs of one call that were recorded at different rates, brought to one."""

from collections.abc import Callable, Mapping
from pathlib import Path

from voxrec.audio.formats import WAV
from voxrec.audio.probe import probe
from voxrec.audio.sink import resampled, write
from voxrec.audio.source import blocks, opened
from voxrec.model import Side


def at_one_rate(legs: Mapping[Side, Path], new: Callable[[str], Path]) -> dict[Side, Path]:
    """Return the legs, all at the highest rate among them; those that were lower are WAV files that ``new`` gave.

    A call can change its codec on its way (a re-INVITE), and what was wide-band stays so. Raises as `probe`, and
    OSError where they cannot be written.
    """
    rates = {side: probe(leg).rate for side, leg in legs.items()}
    highest = max(rates.values(), default=0)
    return {
        side: leg if rates[side] == highest else _raised(leg, rates[side], highest, new(f"raised-{side}.wav"))
        for side, leg in legs.items()
    }


def _raised(leg: Path, rate: int, wanted: int, output: Path) -> Path:
    with opened(leg) as sound:
        write(resampled(blocks(sound, leg), rate, wanted), output, wanted, sound.channels, WAV)
    return output
