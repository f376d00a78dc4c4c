"""Volumes in safetensors: whole and in their place, or refused with the file's name and the reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io import tensor_file

PLACE = [[0, 0, 0.7, -10], [0, 0.7, 0, 5], [2.5, 0, 0, 7], [0, 0, 0, 1]]


def saved(path: Path, voxels: np.ndarray, place: object = PLACE) -> Path:
    path.write_bytes(save({"voxels": voxels}, metadata={"lps_from_index": json.dumps(place)}))
    return path


def by_hand(path: Path, header: dict[str, Any], data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def header_of(**changed: object) -> dict[str, Any]:
    voxels = {"dtype": "I16", "shape": [2, 3, 4], "data_offsets": [0, 48]} | changed
    return {"__metadata__": {"lps_from_index": json.dumps(PLACE)}, "voxels": voxels}


def test_volume_returns_to_the_bit(phantom: Volume, tmp_path: Path) -> None:
    tensor_file.write(tmp_path / "a.safetensors", phantom)
    found = tensor_file.read(tmp_path / "a.safetensors")
    assert np.array_equal(found.voxels, phantom.voxels)
    assert np.array_equal(found.geometry.lps_from_index, phantom.geometry.lps_from_index)


def test_same_volume_gives_the_same_bytes(phantom: Volume, tmp_path: Path) -> None:
    for name in "ab":
        tensor_file.write(tmp_path / name, phantom)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_itself_reads_what_was_written(phantom: Volume, tmp_path: Path) -> None:
    tensor_file.write(tmp_path / "a.safetensors", phantom)
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["voxels"], phantom.voxels)


def test_view_of_a_larger_array_is_written_as_it_is_seen(phantom: Volume, tmp_path: Path) -> None:
    flipped = Volume(
        voxels=phantom.voxels[:, ::-1],
        geometry=phantom.geometry.reordered((0, 1, 2), flipped=(False, True, False)),
    )
    tensor_file.write(tmp_path / "a.safetensors", flipped)
    assert np.array_equal(tensor_file.read(tmp_path / "a.safetensors").voxels, flipped.voxels)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_every_real_number_type_gives_the_same_values(dtype: str, tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    found = tensor_file.read(saved(tmp_path / "a.safetensors", voxels))
    assert found.voxels.dtype == np.int16
    assert np.array_equal(found.voxels, voxels.astype(np.int16))
    assert found.geometry.position_xyz_mm((1, 1, 1)) == pytest.approx((-9.3, 5.7, 9.5))


@pytest.mark.parametrize("kept", [0, 7, 8, 40, -1])
def test_cut_file_is_refused(kept: int, phantom: Volume, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, phantom)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.safetensors: "):
        tensor_file.read(path)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ([[1, 0], [0, 1]], "no 4×4 matrix"),
        ([[1, 0, 0, 0], [0, 1]], "no 4×4 matrix"),
        ("here", "no 4×4 matrix"),
        ([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "right angles"),
        ([[0] * 4] * 3 + [[0, 0, 0, 1]], "axis without length"),
        ([[1e200, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "no millimetres"),
    ],
)
def test_place_that_is_none_is_refused(place: object, said: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", np.zeros((2, 3, 4), np.int16), place)
    with pytest.raises(GeometryError, match=rf"a\.safetensors: .*{said}"):
        tensor_file.read(path)


def test_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(save({"voxels": np.zeros((2, 3, 4), np.int16)}))
    with pytest.raises(GeometryError, match="no 'lps_from_index'"):
        tensor_file.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "tensors", [{"weight": np.zeros(3)}, {"voxels": np.zeros((2, 2, 2)), "b": np.ones(1)}]
)
def test_weights_are_no_volume(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(save(tensors))
    with pytest.raises(UnsupportedFormatError, match="weights are no volume"):
        tensor_file.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shape": [24]}, "24 is not a volume"),
        ({"shape": [2, -3, -4]}, "its shape is"),
        ({"shape": [2**20, 2**20, 2**20]}, "at most 1073741824 are read"),
        ({"shape": [2, 3, 10**400]}, "at most 1073741824 are read"),
        ({"data_offsets": [0, 40]}, "take 48 bytes"),
        ({"data_offsets": [48, 0]}, "take 48 bytes"),
        ({"dtype": "F8_E4M3"}, "of type F8_E4M3"),
        ({"dtype": "BOOL"}, "of type BOOL"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_header_that_contradicts_itself_is_refused(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = by_hand(tmp_path / "a.safetensors", header_of(**changed), bytes(48))
    with pytest.raises(InputError, match=f"a.safetensors: .*{said}"):
        tensor_file.read(path)


def test_header_of_a_terabyte_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(UnsupportedFormatError, match="is no safetensors volume"):
        tensor_file.read(tmp_path / "a.safetensors")


def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    voxels = np.zeros((2, 3, 4), np.float32)
    voxels[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite, the first at index \(z, y, x\) = \(1, 2, 3\)"):
        tensor_file.read(saved(tmp_path / "a.safetensors", voxels))
