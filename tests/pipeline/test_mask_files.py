from pathlib import Path

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import LabelError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.datasets.structure_table import read_structure_table
from thoar.io.formats import read_integers, read_volume
from thoar.io.structures.organ_mask import OrganMask
from thoar.pipeline.mask_files import check_replaceable, file_names, write_label_map, write_masks

GRID = Geometry.axial((4, 5, 6), (3.0, 1.0, 1.0))


def cube(name: str, number: int, corner: int) -> OrganMask:
    box = Box(start_zyx=(1, corner, 0), stop_zyx=(3, corner + 1, 6))
    return OrganMask(organ=Organ(name=name, id=number), box_zyx=box, probability=np.full(box.shape_zyx, 0.7))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["Heart", "heart", "HEART"], ["Heart", "heart_2", "HEART_3"]),
        (["Lt Lung", "Lt/Lung", "Lt_Lung_2"], ["Lt_Lung", "Lt_Lung_2", "Lt_Lung_2_2"]),
        (["../../etc/passwd", "..", "", " . "], ["etc_passwd", "structure_", "structure__2", "structure__3"]),
        (["CON", "nul.dose", "com1"], ["structure_CON", "structure_nul.dose", "structure_com1"]),
        (["Œsophage", "食道", "a\nb\0c"], ["Œsophage", "食道", "a_b_c"]),
        (["x" * 300, "x" * 300], ["x" * 80, "x" * 80 + "_2"]),
    ],
)
def test_structures_of_any_name_get_files_of_their_own(names: list[str], files: list[str]) -> None:
    assert file_names(names) == files


def test_masks_hold_what_is_at_least_one_half(tmp_path: Path) -> None:
    files = write_masks(tmp_path / "masks", GRID, [cube("Heart", 1, 2), cube("heart", 2, 3)], suffix=".nrrd")
    assert files == ("Heart.nrrd", "heart_2.nrrd")
    for file, corner in zip(files, (2, 3), strict=True):
        volume = read_volume(tmp_path / "masks" / file)
        assert volume.geometry.same_grid(GRID)
        assert np.array_equal(np.unique(volume.voxels), [0, 1])
        assert volume.voxels[1:3, corner].all()
        assert volume.voxels.sum() == 12


@pytest.mark.parametrize(
    ("ids", "kept"), [((7, 900), (7, 900)), ((7, 7), (1, 2)), ((0, 3), (1, 2)), ((3, 70000), (1, 2))]
)
def test_ids_are_kept_where_a_label_map_can_hold_them(
    tmp_path: Path, ids: tuple[int, int], kept: tuple[int, int]
) -> None:
    organs = [cube("Lung/L", ids[0], 0), cube("aorta", ids[1], 4)]
    assert write_label_map(tmp_path / "map.v2.nii.gz", GRID, organs) == ("map.v2.nii.gz", "map.v2.csv")
    assert tuple(np.unique(read_integers(tmp_path / "map.v2.nii.gz").voxels)[1:]) == kept
    assert read_structure_table(tmp_path / "map.v2.csv") == {"Lung/L": kept[0], "aorta": kept[1]}


def test_a_label_map_without_a_structure_or_with_overlaps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="nothing to write"):
        write_label_map(tmp_path / "map.nii.gz", GRID, [])
    with pytest.raises(LabelError, match="b and a share 12 voxels"):
        write_label_map(tmp_path / "map.nii.gz", GRID, [cube("a", 1, 0), cube("b", 2, 0)])
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "rt.dcm"
    check_replaceable(path, overwrite=False, inputs=[])
    path.write_text("older")
    with pytest.raises(UsageError, match="--overwrite"):
        check_replaceable(path, overwrite=False, inputs=[])
    check_replaceable(path, overwrite=True, inputs=[])


def test_a_folder_is_replaced_only_when_asked_and_only_where_masks_are_all_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    check_replaceable(folder, overwrite=False, inputs=[])
    (folder / "heart.nii.gz").touch()
    with pytest.raises(UsageError, match="--overwrite"):
        check_replaceable(folder, overwrite=False, inputs=[])
    check_replaceable(folder, overwrite=True, inputs=[])
    (folder / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        check_replaceable(folder, overwrite=True, inputs=[])


def test_inputs_are_never_touched(tmp_path: Path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").touch()
    (tmp_path / "link").symlink_to(series)
    for out in (series, series / "masks", series / "1.dcm", tmp_path, tmp_path / "link" / "x.nii.gz"):
        with pytest.raises(UsageError, match="never touched"):
            check_replaceable(out, overwrite=True, inputs=[series])
    check_replaceable(tmp_path / "out", overwrite=True, inputs=[series, tmp_path / "map.nii.gz"])
