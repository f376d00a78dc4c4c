import msgspec
import numpy as np
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.deform import Deformation, draw_deformation
from thoar.phantoms.patient import Patient
from thoar.phantoms.scanning.field import Field, draw_field, extent_of, in_circle

replace = msgspec.structs.replace


def whole(**changes: object) -> Field:
    values = {
        "bottom": 0.0, "top": 1.0, "width_mm": 600.0, "circle": False, "padding_hu": -2048.0,
        "margin_mm": 12.0, "shift_xy_mm": (0.0, 0.0), "rim_hu": 0.0,
    }  # fmt: skip
    return replace(draw_field(rng_for(0, "field")), **{**values, **changes})


def straight() -> Deformation:
    return replace(
        draw_deformation(rng_for(0, "deformation")),
        scale_xyz=(1.0, 1.0, 1.0), rotation_xyz_deg=(0.0, 0.0, 0.0), shear=(0.0, 0.0, 0.0),
    )  # fmt: skip


def test_whole_field_holds_the_patient_and_a_margin(patient: Patient) -> None:
    extent = extent_of(patient, straight(), whole())
    low, high = extent.low_xyz_mm, extent.high_xyz_mm
    np.testing.assert_allclose(high[2] - low[2], 2 * patient.half_xyz_mm[2])
    assert high[0] - low[0] == pytest.approx(2 * 168 + 24, abs=12)
    assert high[1] - low[1] == pytest.approx(2 * 112 + 24, abs=12)


def test_levels_are_shares_of_the_length(patient: Patient) -> None:
    extent = extent_of(patient, straight(), whole(bottom=0.25, top=0.75))
    low, high = extent.low_xyz_mm, extent.high_xyz_mm
    np.testing.assert_allclose([low[2], high[2]], [-patient.half_xyz_mm[2] / 2, patient.half_xyz_mm[2] / 2])


def test_narrow_field_cuts_the_patient(patient: Patient) -> None:
    extent = extent_of(patient, straight(), whole(width_mm=250.0))
    low, high = extent.low_xyz_mm, extent.high_xyz_mm
    assert high[0] - low[0] == pytest.approx(250)


def test_circle_lies_in_the_middle_of_a_picture_that_it_cuts_on_both_sides(patient: Patient) -> None:
    extent = extent_of(patient, straight(), whole(width_mm=200.0, shift_xy_mm=(9.0, -4.0)))
    corners = np.array([extent.low_xyz_mm[:2], extent.high_xyz_mm[:2]])
    np.testing.assert_allclose(extent.middle_xy_mm, corners.mean(axis=0))


def circle(field: Field) -> torch.Tensor:
    body = torch.zeros(2, 41, 61)
    body[0] = 1
    x, y = (torch.arange(61.0) - 30) * 5, (torch.arange(41.0) - 20) * 5
    return in_circle(torch.zeros(2, 41, 61), body, field, from_middle_xy_mm=(x, y))


def test_padding_lies_outside_the_circle_alone() -> None:
    padded = circle(whole(circle=True, width_mm=200.0))
    assert (padded[:, 0, 0] == -2048).all()
    assert (padded[:, 20, 11:50] == 0).all()
    assert float((padded == -2048).float().mean()) == pytest.approx(
        1 - np.pi * 100**2 / (305 * 205), abs=0.03
    )
    assert (circle(whole(circle=False, width_mm=200.0)) == 0).all()


def test_cut_patient_has_a_bright_rim_where_the_circle_cuts_him() -> None:
    cut, free = circle(whole(circle=True, width_mm=200.0, rim_hu=100.0))
    assert float(cut[20, 11]) > 50
    assert float(cut[20, 30]) < 1
    assert (free[20] <= 0).all()


def test_drawn_fields_differ_in_levels_circle_and_padding() -> None:
    drawn = [draw_field(rng_for(0, "field", n)) for n in range(300)]
    lengths = np.array([f.top - f.bottom for f in drawn])
    assert (lengths > 0.25).all()
    assert (lengths > 0.85).mean() > 0.25
    assert 0.05 < (lengths < 0.55).mean() < 0.4
    assert {f.padding_hu for f in drawn} >= {-1024.0, -2048.0, -3024.0}
    assert {f.circle for f in drawn} == {True, False}
    assert 0.05 < np.mean([f.width_mm < 360 for f in drawn]) < 0.3
