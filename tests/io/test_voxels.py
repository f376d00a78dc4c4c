from pathlib import Path

import numpy as np
import pytest

from thoar.core.errors import InputError
from thoar.io.voxels import narrowed

PATH = Path("scan.nii")
WHOLE = np.arange(-30, 30).reshape(3, 4, 5)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64, ">i4"])
def test_whole_numbers_that_fit_become_int16_whatever_they_were(dtype) -> None:
    found = narrowed(WHOLE.astype(dtype), PATH)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, WHOLE)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (2.0, 0.0), (0.5, 0.5)])
def test_scaled_numbers_are_int16_only_if_all_are_whole(slope: float, intercept: float) -> None:
    found = narrowed((WHOLE + 30).astype(np.uint16), PATH, slope=slope, intercept=intercept)
    assert found.dtype == (np.float32 if slope == 0.5 else np.int16)
    np.testing.assert_array_equal(found, (WHOLE + 30) * slope + intercept)


@pytest.mark.parametrize("odd", [0.5, 32768.0, -32769.0, 1e30])
def test_one_voxel_in_the_last_slice_makes_the_whole_volume_float32(odd: float) -> None:
    stored = WHOLE.astype(np.float64)
    stored[-1, -1, -1] = odd
    found = narrowed(stored, PATH)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stored.astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_voxel_that_is_no_number_is_named_though_it_comes_last(bad: float) -> None:
    stored = WHOLE.astype(np.float64)
    stored[-1, -1, -2] = bad
    with pytest.raises(InputError, match=r"1 voxels .* \(z, y, x\) = \(2, 3, 3\)"):
        narrowed(stored, PATH)


def test_whole_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(InputError, match="neither HU nor label ids"):
        narrowed(WHOLE.astype(np.int64) + 2**25, PATH)


def test_int16_is_not_copied() -> None:
    stored = WHOLE.astype(np.int16)
    assert np.shares_memory(narrowed(stored, PATH), stored)
