"""Values that are extreme, wrong, or a little off: what a spoilt element is given."""

import random
import struct

from fuzzing.elements import UNDEFINED, Element

INTEGERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 31, 32, 64, 255, 256, 4096, 32767, 32768, 65534, 65535)
LENGTHS = (0, 1, 2, 3, 7, 255, 0x7FFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED)
TEXTS = (
    *(b"", b" ", b"0", b"-1", b"1", b"2", b"nan", b"inf", b"-inf", b"1e308", b"1e-320", b"-0.0", b"0.5"),
    *(b"abc", b"1,5", b"2147483648", b"99999999999999999999", b"1\\2", b"1\\0\\0\\0\\1\\0", b"\\\\"),
    *(b"1\x00", b"\xff\xfe", b"1" * 400),
)
_SYNTAX = b"1.2.840.10008.1.2"
SYNTAXES = (
    *(_SYNTAX, _SYNTAX + b".1", _SYNTAX + b".1.99", _SYNTAX + b".2", _SYNTAX + b".5", _SYNTAX + b".4.50"),
    *(_SYNTAX + b".4." + kind for kind in (b"51", b"57", b"70", b"80", b"90", b"100", b"201")),
    *(b"1.2.3", b"", b"../../x", b"1." * 40),
)
CODES = (
    *(b"CT", b"MR", b"PT", b"RTSTRUCT", b"SEG", b"LOCALIZER", b"ORIGINAL\\PRIMARY\\LOCALIZER"),
    *(b"DERIVED\\SECONDARY\\MIP", b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"POINT", b"OPEN_PLANAR"),
    *(b"CLOSED_PLANAR", b"FRACTIONAL", b"BINARY", b"HFP", b"FFS", b"ISO_IR 6\\ISO 2022 IR 87", b""),
    b"ISO_IR 999",
)
VRS = (
    *(b"AE", b"AT", b"CS", b"DS", b"FD", b"FL", b"IS", b"LO", b"OB", b"OF", b"OW", b"PN", b"SQ", b"SS"),
    *(b"SV", b"TM", b"UI", b"UL", b"UN", b"US", b"UT", b"ZZ", b"\x00\x00"),
)
SHIFTS = (0.0, 0.001, 0.05, 0.09, 0.2, 1.0, 2.5, 1e6)
FACTORS = (1.0, -1.0, 2.0, 1.001)


def hostile_value(value: bytes, element: Element, rng: random.Random) -> bytes:
    """Return a value for an element in place of its own."""
    if element.vr in {b"US", b"SS"}:
        return struct.pack("<H", rng.choice(INTEGERS)) * rng.choice((1, 1, 1, 1, 2, 0))
    if element.vr in {b"UL", b"SL"}:
        return struct.pack("<I", rng.choice((*INTEGERS, 0x7FFFFFFF, UNDEFINED))) * rng.choice((1, 1, 1, 2))
    if element.vr in {b"DS", b"IS"}:
        return _numbers(value, rng)
    if element.vr == b"UI":
        return rng.choice((*SYNTAXES, value[:-1] + rng.choice((b"1", b"7", b""))))
    if element.vr == b"CS":
        return rng.choice(CODES)
    return rng.choice((b"", rng.randbytes(len(value)), value * 3, value[: len(value) // 2], *TEXTS))


def _numbers(value: bytes, rng: random.Random) -> bytes:
    """Return one of several numbers changed, a little or wholly; or all of them at once."""
    if rng.choice((True, False, False, False)):
        return rng.choice(TEXTS)
    parts = value.strip(b" \x00").split(b"\\")
    at = rng.randrange(len(parts))
    try:
        shifted = float(parts[at]) * rng.choice(FACTORS) + rng.choice(SHIFTS)
        parts[at] = rng.choice((f"{shifted:.10g}".encode(), rng.choice(TEXTS)))
    except ValueError:
        parts[at] = rng.choice(TEXTS)
    return b"\\".join(parts)
