"""A DNG file of a mosaic, as small as one can be (DNG 1.4, TIFF 6.0)."""

import struct

import numpy as np

# Type of a TIFF field -> (format, numbers of a value).
_KINDS = {1: ("B", 1), 2: ("B", 1), 3: ("H", 1), 4: ("I", 1), 10: ("i", 2)}
_IDENTITY = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)


def dng(values, tile="RGGB", black=64, white=1023):
    """The bytes of a file.

    Args:
        values: uint16 (height, width), as the sensor counts.
        tile: the colors of 2x2 pixels.
        black, white: levels.
    """
    height, width = values.shape
    pixels = np.ascontiguousarray(values, "<u2").tobytes()
    fields = [
        *((254, 4, (0,)), (256, 4, (width,)), (257, 4, (height,)), (258, 3, (16,))),
        # Not compressed, a color filter array, of the makers A and B.
        *((259, 3, (1,)), (262, 3, (32803,)), (271, 2, b"A\0"), (272, 2, b"B\0")),
        *((273, 4, None), (274, 3, (1,)), (277, 3, (1,)), (278, 4, (height,))),
        *((279, 4, (len(pixels),)), (284, 3, (1,)), (33421, 3, (2, 2))),
        (33422, 1, bytes("RGB".index(color) for color in tile)),
        *((50706, 1, bytes((1, 4, 0, 0))), (50707, 1, bytes((1, 1, 0, 0))), (50708, 2, b"A B\0")),
        *((50714, 3, (black,)), (50717, 3, (white,)), (50721, 10, _IDENTITY), (50778, 3, (21,))),
    ]
    start = 8 + 2 + 12 * len(fields) + 4
    packed = [
        b"" if of_field is None else struct.pack(f"<{len(of_field)}{_KINDS[kind][0]}", *of_field)
        for _, kind, of_field in fields
    ]
    behind, entries = b"", []
    end = start + sum(len(x) for x in packed if len(x) > 4)
    for (tag, kind, of_field), content in zip(fields, packed, strict=True):
        count = 1 if of_field is None else len(of_field) // _KINDS[kind][1]
        if of_field is None:
            content = struct.pack("<I", end)
        elif len(content) > 4:
            content, behind = struct.pack("<I", start + len(behind)), behind + content
        entries.append(struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0"))
    head = b"II*\0" + struct.pack("<IH", 8, len(fields))
    return head + b"".join(entries) + struct.pack("<I", 0) + behind + pixels
