"""Ways to spoil a DICOM file, each a function of the bytes, the places of the elements, and chance."""

import random
import struct
from collections.abc import Callable, Sequence

from fuzzing.elements import LONG, PREAMBLE, UNDEFINED, Element
from fuzzing.hostile import LENGTHS, VRS, hostile_value

Spoilt = tuple[bytes, str]
Mutation = Callable[[bytes, Sequence[Element], random.Random], Spoilt]

IDENTIFYING, PIXELS = 0x00080000, 0x7FE00010
MATTERING = {
    0x00020010, 0x00080008, 0x00080060, 0x00180050, 0x00185100, 0x0020000E, 0x00200032, 0x00200037,
    0x00200052, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100,
    0x00280101, 0x00280102, 0x00280103, 0x00281052, 0x00281053, 0x30060042, 0x30060046, 0x30060050,
    0x30060022, 0x30060024, 0x30060084, 0x00620001, 0x00620004, 0x0062000B, 0x00209157, 0x00081155,
}  # fmt: skip
"""Attributes whose values say where the pixels lie and what they mean; most value changes go there."""

OF_ELEMENTS_SHARE, MATTERING_SHARE, IN_HEADER = 0.65, 0.7, 0.8
"""How often elements are spoilt rather than bytes, those that matter, and bytes of the header."""


def spoil(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Return the file with one to three things wrong, and what was done."""
    said = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        before = data
        # once something was done, the elements need no longer lie where they lay
        known = elements and not said and rng.random() < OF_ELEMENTS_SHARE
        data, what = rng.choice(OF_ELEMENTS if known else OF_BYTES)(data, elements, rng)
        said.append(what if data != before else f"{what} (no change)")
    return data, "; ".join(said)


def _replaced(data: bytes, start: int, end: int, new: bytes) -> bytes:
    return data[:start] + new + data[end:]


def _place(data: bytes, elements: Sequence[Element], rng: random.Random) -> int:
    """Return where to spoil: mostly in the header, which is small beside the pixels."""
    pixels = next((e.value_at for e in elements if e.tag == PIXELS), min(len(data), 2000))
    if rng.random() < IN_HEADER and pixels > PREAMBLE:
        return rng.randrange(PREAMBLE, pixels)
    return rng.randrange(len(data) or 1)


def flip_bits(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Turn over one to eight bits."""
    spoilt, places = bytearray(data), []
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = _place(data, elements, rng)
        if at < len(spoilt):
            spoilt[at] ^= 1 << rng.randrange(8)
            places.append(at)
    return bytes(spoilt), f"bits flipped at {places}"


def set_bytes(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Overwrite one to sixteen bytes by an extreme or by chance."""
    at, count = _place(data, elements, rng), rng.choice((1, 2, 4, 16))
    new = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80", rng.randbytes(1))) * count
    return _replaced(data, at, at + count, new)[: len(data)], f"{count} bytes at {at} set to {new[:1].hex()}"


def truncate(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Cut the file short."""
    at = rng.choice(
        (
            rng.randrange(len(data) or 1),
            _place(data, elements, rng),
            max(len(data) - rng.randrange(1, 300), 0),
        )
    )
    return data[:at], f"cut at {at}"


def insert(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Push bytes in: by chance, of the file itself, or zeros."""
    at, count = _place(data, elements, rng), rng.choice((1, 2, 8, 64, 500))
    start = rng.randrange(len(data) or 1)
    new = rng.choice((rng.randbytes(count), data[start : start + count], bytes(count)))
    return _replaced(data, at, at, new), f"{len(new)} bytes pushed in at {at}"


def remove(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Take bytes out."""
    at, count = _place(data, elements, rng), rng.choice((1, 2, 8, 64, 500))
    return _replaced(data, at, at + count, b""), f"{count} bytes taken out at {at}"


def nest(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Push in a deep nest of sequences."""
    at = rng.choice([e.start for e in elements if e.tag > IDENTIFYING] or [_place(data, elements, rng)])
    depth = rng.choice((2, 50, 400, 5000))
    start = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    return _replaced(
        data, at, at, start * depth + rng.choice((end * depth, b""))
    ), f"{depth} sequences nested at {at}"


def change_length(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Let an element state another length."""
    element = rng.choice(elements)
    at, size = element.length_at
    near = max(element.length + rng.choice((-2, -1, 1, 2, 8)), 0)
    length = rng.choice((*LENGTHS, near)) & ((1 << 8 * size) - 1)
    return _replaced(
        data, at, at + size, length.to_bytes(size, "little")
    ), f"{_named(element)}: length {length}"


def change_vr(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Let an element have another VR, with a header to match or not."""
    element = rng.choice([e for e in elements if e.vr])
    vr = rng.choice(VRS)
    value = data[element.value_at : element.end]
    if rng.choice((True, False)) or element.length == UNDEFINED:
        return _replaced(
            data, element.start + 4, element.start + 6, vr
        ), f"{_named(element)}: VR {vr!r} written over"
    return _rewritten(data, element, value, vr=vr), f"{_named(element)}: VR {vr!r}"


def change_tag(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Let an element bear the tag of another."""
    element, other = rng.choice(elements), rng.choice(elements)
    tag = data[other.start : other.start + 4]
    return _replaced(data, element.start, element.start + 4, tag), f"{_named(element)}: as {_named(other)}"


def swap_values(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Give an element the value of another."""
    element, other = _mattering(elements, rng), rng.choice(_with_values(elements))
    value = data[other.value_at : other.end]
    return _rewritten(data, element, value), f"{_named(element)}: value of {_named(other)}"


def drop(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Leave an element out."""
    element = _mattering(elements, rng)
    return _replaced(data, element.start, element.end, b""), f"{_named(element)}: left out"


def repeat(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Write an element twice, or once more somewhere else."""
    element, at = _mattering(elements, rng), rng.choice(elements).start
    return _replaced(data, at, at, data[element.start : element.end]), f"{_named(element)}: again at {at}"


def change_value(data: bytes, elements: Sequence[Element], rng: random.Random) -> Spoilt:
    """Give an element a value of its own kind that is extreme, wrong, or a little off."""
    element = _mattering(elements, rng)
    value = hostile_value(data[element.value_at : element.end], element, rng)
    return _rewritten(data, element, value), f"{_named(element)}: value {value[:60]!r}"


def _with_values(elements: Sequence[Element]) -> list[Element]:
    return [e for e in elements if e.vr and e.vr != b"SQ" and e.length != UNDEFINED]


def _mattering(elements: Sequence[Element], rng: random.Random) -> Element:
    valued = _with_values(elements)
    mattering = [e for e in valued if e.tag in MATTERING]
    return rng.choice(mattering if mattering and rng.random() < MATTERING_SHARE else valued)


def _rewritten(data: bytes, element: Element, value: bytes, *, vr: bytes | None = None) -> bytes:
    """Return the file with an element's value and VR replaced under a header that fits them."""
    vr = element.vr if vr is None else vr
    value = value[:0xFFFE] if vr not in LONG else value
    if len(value) % 2:
        value += b"\x00" if vr in {b"UI", b"OB", b"UN"} else b" "
    length = bytes(2) + struct.pack("<I", len(value)) if vr in LONG else struct.pack("<H", len(value))
    return _replaced(data, element.start + 4, element.end, vr + length + value)


def _named(element: Element) -> str:
    return f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})@{element.start}"


OF_BYTES: tuple[Mutation, ...] = (flip_bits, flip_bits, set_bytes, truncate, insert, remove, nest)
OF_ELEMENTS: tuple[Mutation, ...] = (
    change_value, change_value, change_value, change_value, change_length, change_length, change_vr,
    change_tag, swap_values, drop, repeat,
)  # fmt: skip
