"""The outline of a recording as a picture: one row for each channel, PNG."""

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

ROW: Final = 64  # pixels of height for each channel
# Right on white and on black, since mail programs have both, and apart from each other for those who see no red
_COLOURS: Final = ((0x3B, 0x82, 0xF6, 0xFF), (0xD9, 0x77, 0x06, 0xFF))
_LINE: Final = (0x88, 0x88, 0x88, 0x88)
_CLEAR: Final = (0, 0, 0, 0)
_GAP: Final = 4  # pixels between two rows


def drawn(peaks: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Return a PNG of what `voxrec.audio.peaks.peaks` found: a column of pixels for each bucket, the caller's on top.

    Its background is transparent. Of nothing it is one empty column.
    """
    width = max([1, *(len(row) for row in peaks)])
    height = max(1, len(peaks)) * (ROW + _GAP) - _GAP
    image = Image.new("RGBA", (width, height), _CLEAR)
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(peaks):
        middle = number * (ROW + _GAP) + ROW // 2
        draw.line(((0, middle), (width - 1, middle)), fill=_LINE)
        for x, (low, high) in enumerate(row):
            if (low, high) != (0, 0):
                span = (x, middle - high * (ROW // 2 - 1) // 127), (x, middle - low * (ROW // 2 - 1) // 128)
                draw.line(span, fill=_COLOURS[number % len(_COLOURS)])
    file = io.BytesIO()
    image.quantize(16, method=Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    return file.getvalue()
