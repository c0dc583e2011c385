"""Draw the waveform of a recording as a PNG image, one row for each channel."""

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

ROW_HEIGHT: Final = 64  # pixels for each channel
# readable on white and on black, because mail programs use both, and distinguishable with red-green colour blindness
_COLOURS: Final = ((0x3B, 0x82, 0xF6, 0xFF), (0xD9, 0x77, 0x06, 0xFF))
_ZERO_LINE: Final = (0x88, 0x88, 0x88, 0x88)
_TRANSPARENT: Final = (0, 0, 0, 0)
_GAP: Final = 4  # pixels between two rows


def render_waveform(peaks: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Return a PNG image of the result of `voxrec.audio.peaks.compute_peaks`: one pixel column for each bucket.

    The caller is the upper row. The background is transparent. Without peaks the image is one empty column.
    """
    width = max([1, *(len(row) for row in peaks)])
    height = max(1, len(peaks)) * (ROW_HEIGHT + _GAP) - _GAP
    amplitude = ROW_HEIGHT // 2 - 1
    image = Image.new("RGBA", (width, height), _TRANSPARENT)
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(peaks):
        zero = number * (ROW_HEIGHT + _GAP) + ROW_HEIGHT // 2
        draw.line(((0, zero), (width - 1, zero)), fill=_ZERO_LINE)
        for x, (low, high) in enumerate(row):
            if (low, high) != (0, 0):
                column = (x, zero - high * amplitude // 127), (x, zero - low * amplitude // 128)
                draw.line(column, fill=_COLOURS[number % len(_COLOURS)])
    file = io.BytesIO()
    image.quantize(16, method=Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    return file.getvalue()
