"""The painting of a parametric chest, from the skin inwards."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.phantoms import anatomy
from thoar.phantoms.deform import rotation
from thoar.phantoms.esophagus import openness
from thoar.phantoms.shapes import (
    Canvas,
    Distance,
    Points,
    Tube,
    blended,
    ellipsoid_distance,
    jittered,
    joined,
    tube,
    tube_distance,
)
from thoar.phantoms.thorax_parameters import Body, ThoraxParameters

FAT_HU, SKIN_HU, MARROW_HU, CORTEX_HU, CARTILAGE_HU = -100.0, 20.0, 170.0, 480.0, 95.0
AIR_HU, LUNG_HU, WALL_HU, CORD_HU, DISC_HU = -1000.0, -870.0, 35.0, 30.0, 80.0
AIRWAY_WALL_MM = 1.5
BRONCHUS_LABELLED_MM = 10.0
"""So far beyond the carina, downwards, the bronchi still belong to the trachea's label."""
VERTEBRA_MM, DISC_MM = 25.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shares:
    """How much of each voxel is body (lungs and all), and how much lung."""

    body: Distance
    lung: Distance


def paint_chest(canvas: Canvas, points: Points, parameters: ThoraxParameters) -> Shares:
    """Paint a chest on a canvas of air.

    Args:
        canvas: what is painted on; its labels become the organs'.
        points: where in the patient's frame (``anatomy``) each voxel lies.
        parameters: the patient.
    """
    target = parameters.contrast.target_hu
    body = _paint_wall(canvas, points, parameters)
    inner = _shifted(points, parameters.body)
    vessels, airways = _vessels(inner, parameters), _airways(inner, parameters)
    heart, esophagus = _heart(inner, parameters), _esophagus(inner, parameters)
    soft = [heart - 1, esophagus, *vessels.values(), *airways.values()]
    lung = _paint_lungs(canvas, points, parameters, np.minimum.reduce(soft))
    _paint_belly(canvas, points, parameters)
    _paint_bones(canvas, points)
    for name in ("upper_veins", "lower_veins", "pulmonary"):
        canvas.paint(vessels[name], min(target[name], 900.0))
    _paint_heart(canvas, inner, heart, parameters)
    _label(canvas, "aorta", canvas.paint(vessels["aorta"], target["arteries"]))
    canvas.paint(np.maximum(vessels["arteries"], -vessels["aorta"]), target["arteries"])
    _paint_esophagus(canvas, points, esophagus, parameters)
    _paint_airways(canvas, points, airways)
    return Shares(body=canvas.share(body), lung=lung)


def _label(canvas: Canvas, organ: str, inside: np.ndarray) -> None:
    canvas.label[inside] = SEGTHOR.organ(organ).id


def _paint_wall(canvas: Canvas, points: Points, parameters: ThoraxParameters) -> Distance:
    """Paint skin, fat, muscle and, inside the cage, the fat between the organs."""
    body = parameters.body
    muscle = blended(_trunk(points) - body.muscle_mm, _paraspinal(points), radius_mm=15.0)
    skin = muscle - body.fat_mm * (1 + 0.25 * np.cos(points[0] / 55))
    canvas.paint(skin, SKIN_HU)
    canvas.paint(skin + 2, FAT_HU)
    canvas.paint(muscle, body.muscle_hu)
    canvas.paint(np.maximum(muscle + 4, _marbling(points, parameters)), FAT_HU)
    canvas.paint(_cage(points), FAT_HU)
    canvas.paint(np.maximum(_cage(points) + 2, _nodes(points, parameters)), body.muscle_hu - 5)
    return skin


def _marbling(points: Points, parameters: ThoraxParameters) -> Distance:
    """Return sheets of fat between muscles, as where smooth chance changes sign; more at the shoulders."""
    shoulder = np.clip((points[2] - 215) / 40, 0, 1)
    chance = np.abs(_waves(points, rng_for(parameters.seed, "marbling"), length_mm=100.0))
    return (chance * 8 - 1.0 - 5.5 * shoulder).astype(np.float32)


def _waves(points: Points, rng: np.random.Generator, *, length_mm: float) -> Distance:
    """Return smooth chance about zero: plane waves of about one length in all directions."""
    total = np.zeros(points.shape[1:], dtype=np.float32)
    for _ in range(6):
        wave = rng.normal(0, 2 * np.pi / length_mm, 3).astype(np.float32)
        total += np.sin(np.einsum("i,izyx->zyx", wave, points) + np.float32(rng.uniform(0, 2 * np.pi)))
    return total


def _nodes(points: Points, parameters: ThoraxParameters) -> Distance:
    """Return lumps of soft tissue for the fat between the lungs (the rest of them is painted over)."""
    chance = _waves(points, rng_for(parameters.seed, "nodes"), length_mm=70.0)
    return (np.quantile(chance[::4, ::4, ::4], 1 - parameters.body.nodes) - chance).astype(np.float32) * 6


def _trunk(points: Points) -> Distance:
    """Return the signed distance to the cage as it would be if it did not close at the top."""
    z = np.minimum(points[2], 235.0)
    half_x, half_y, middle = anatomy.cage_half_mm(z)
    widen = 1 + 0.18 * np.clip((points[2] - 225) / 70, 0, 1)
    return _superellipse(points[0], points[1] - middle, half_x * widen, half_y)


def _cage(points: Points) -> Distance:
    half_x, half_y, middle = anatomy.cage_half_mm(points[2])
    return _superellipse(points[0], points[1] - middle, half_x, half_y)


def _superellipse(x: np.ndarray, y: np.ndarray, half_x: np.ndarray, half_y: np.ndarray) -> Distance:
    power = anatomy.CAGE_POWER
    away = (np.abs(x / half_x) ** power + np.abs(y / half_y) ** power) ** (1 / power)
    reach = np.hypot(x, y) / np.maximum(away, 1e-3)
    return ((away - 1) * np.where(away > 0.2, reach, half_y)).astype(np.float32)  # noqa: PLR2004 (near the axis)


def _paraspinal(points: Points) -> Distance:
    """Return the muscles beside the spinous processes."""
    y = anatomy.spine_front_mm(points[2]) + 62
    x = np.abs(points[0]) - 28
    return (np.hypot(x / 1.4, points[1] - y) - 19).astype(np.float32)


def _shifted(points: Points, body: Body) -> Points:
    """Return the points as seen from a mediastinum that is drawn to one side."""
    before = np.clip((anatomy.spine_front_mm(points[2]) - points[1]) / 60, 0, 1)
    out = points.copy()
    out[0] -= (body.mediastinum_shift_mm * before).astype(np.float32)
    return out


def _vessels(points: Points, parameters: ThoraxParameters) -> dict[str, Distance]:
    organs = parameters.organs
    groups = {
        "arteries": anatomy.ARTERIES,
        "upper_veins": anatomy.UPPER_VEINS,
        "lower_veins": anatomy.LOWER_VEINS,
        "pulmonary": anatomy.PULMONARY,
    }
    found = {name: _tubes(points, table, parameters, name=name) for name, table in groups.items()}
    arch = [
        (x, y, z + organs.arch_shift_mm * float(np.clip((z - 160) / 50, 0, 1)), r * organs.aorta_scale)
        for x, y, z, r in anatomy.placed(anatomy.AORTA)
    ]
    rng = rng_for(parameters.seed, "aorta")
    found["aorta"] = tube_distance(points, tube(jittered(rng, arch, spread_mm=organs.wander_mm)))
    return found


def _tubes(
    points: Points, table: Mapping[str, anatomy.Knots], parameters: ThoraxParameters, *, name: str
) -> Distance:
    rng = rng_for(parameters.seed, name)
    spread = 0.6 * parameters.organs.wander_mm
    ways = [jittered(rng, anatomy.placed(way), spread_mm=spread) for way in table.values()]
    return tube_distance(points, joined([tube(way) for way in ways]))


def _airways(points: Points, parameters: ThoraxParameters) -> dict[str, Distance]:
    """Return trachea and bronchi, moved as one so that they stay joined at the carina."""
    rng = rng_for(parameters.seed, "airways")
    shift = rng.normal(0, parameters.organs.wander_mm, 2)
    scale = parameters.organs.trachea_scale

    def moved(way: anatomy.Knots) -> list[tuple[float, float, float, float]]:
        return [(x + shift[0], y + 0.4 * shift[1], z, r * scale) for x, y, z, r in anatomy.placed(way)]

    bronchi = joined([tube(moved(way)) for way in anatomy.BRONCHI.values()])
    return {
        "trachea": tube_distance(points, tube(moved(anatomy.TRACHEA))),
        "bronchi": tube_distance(points, bronchi),
    }


def _esophagus(points: Points, parameters: ThoraxParameters) -> Distance:
    organs, rng = parameters.organs, rng_for(parameters.seed, "esophagus")
    way = [(x, y, z, r * organs.esophagus_scale) for x, y, z, r in anatomy.placed(anatomy.ESOPHAGUS)]
    way = jittered(rng, way, spread_mm=organs.wander_mm)
    return tube_distance(points, tube(way, flat=organs.esophagus_flat))


def _heart_points(points: Points, parameters: ThoraxParameters) -> Points:
    """Return the points in the heart's own frame: long axis, leftwards, upwards, at average size."""
    organs = parameters.organs
    lift_mm = 0.6 * (parameters.body.dome_mm - 80)
    centre = np.array([18.0, -31.0, 115.0 + lift_mm]) + organs.heart_shift_xyz_mm
    turn = anatomy.heart_frame() @ rotation(organs.heart_rotation_xyz_deg).T / organs.heart_scale
    offset = points - centre.astype(np.float32)[:, None, None, None]
    return np.einsum("ij,jzyx->izyx", turn.astype(np.float32), offset)


def _heart(points: Points, parameters: ThoraxParameters) -> Distance:
    """Return the heart's outside: ventricles, and the atria behind and to the right of them."""
    own = _heart_points(points, parameters)
    ventricles = ellipsoid_distance(own, centre_xyz_mm=(10.0, 0.0, 0.0), radius_xyz_mm=(58.0, 45.0, 39.0))
    atria = ellipsoid_distance(own, centre_xyz_mm=(-34.0, 0.0, 4.0), radius_xyz_mm=(28.0, 42.0, 36.0))
    return blended(ventricles, atria, radius_mm=14.0) * np.float32(parameters.organs.heart_scale)


def _paint_heart(canvas: Canvas, points: Points, heart: Distance, parameters: ThoraxParameters) -> None:
    contrast = parameters.contrast
    blood = contrast.target_hu["heart"]
    muscle = blood + 4 if contrast.phase == "native" else 55 + 0.25 * max(blood - 55, 0)
    _label(canvas, "heart", canvas.paint(heart, muscle))
    own = _heart_points(points, parameters)
    right = blood + 0.5 * contrast.right_heart_hu
    chambers = (
        ((14.0, 16.0, -4.0), (38.0, 19.0, 20.0), 2 * blood - right),
        ((6.0, -22.0, -2.0), (44.0, 17.0, 26.0), right),
        ((-38.0, 18.0, 6.0), (21.0, 21.0, 28.0), 2 * blood - right),
        ((-38.0, -21.0, 0.0), (21.0, 18.0, 30.0), right),
    )
    for centre, radius, value in chambers:
        inside = ellipsoid_distance(own, centre_xyz_mm=centre, radius_xyz_mm=radius)
        canvas.paint(np.maximum(inside, heart + 2), max(value, 35.0))
    groove = np.abs(
        ellipsoid_distance(own, centre_xyz_mm=(-34.0, 0.0, 4.0), radius_xyz_mm=(26.0, 46.0, 40.0))
    )
    canvas.paint(np.maximum(groove - 2, -heart - 9), FAT_HU / 2)


def _paint_lungs(canvas: Canvas, points: Points, parameters: ThoraxParameters, soft: Distance) -> Distance:
    """Paint the lungs with their vessels: the cage less the middle, above the diaphragm."""
    rng = rng_for(parameters.seed, "lungs")
    inside = np.maximum(_cage(points) + 3, -_diaphragm(points, parameters.body))
    slab = np.abs(points[0] - 2) - 9
    spine = tube_distance(points, _spine(), reach_mm=20.0) - 5
    soft = soft - parameters.body.mediastinum_mm
    inside = np.maximum(inside, -blended(blended(soft, slab, radius_mm=12.0), spine, radius_mm=12.0))
    share = canvas.share(inside)
    canvas.paint(inside, LUNG_HU)
    vessels = tube_distance(points, anatomy.lung_vessels(rng, each_side=34))
    canvas.paint(np.maximum(vessels, inside), min(parameters.contrast.target_hu["pulmonary"], 400.0))
    return share


def _diaphragm(points: Points, body: Body) -> Distance:
    """Return the height above the diaphragm: a dome on either side, the left one lower."""
    right = points[0] < 0
    top = np.where(right, body.dome_mm, body.dome_mm - 14)
    middle = np.where(right, -62.0, 68.0)
    across, along = (points[0] - middle) / 78, (points[1] + 8) / 92
    return (points[2] - top + 62 * (across**2 + along**2)).astype(np.float32) * np.float32(0.75)


def _paint_belly(canvas: Canvas, points: Points, parameters: ThoraxParameters) -> None:
    """Paint the organs under the diaphragm: liver, stomach with its gas, spleen."""
    target = parameters.contrast.target_hu
    below = np.maximum(_diaphragm(points, parameters.body) + 4, _cage(points) + 3)
    canvas.paint(np.maximum(below - 4, -below), parameters.body.muscle_hu)
    top = parameters.body.dome_mm
    spine = np.float32(14) - tube_distance(points, _spine(), reach_mm=30.0)
    organs = (
        ((-48.0, -2.0, top - 75.0), (98.0, 82.0, 74.0), target["liver"]),
        ((52.0, -22.0, top - 62.0), (42.0, 48.0, 44.0), 30.0),
        ((92.0, 48.0, top - 62.0), (30.0, 40.0, 44.0), target["spleen"]),
    )
    for centre, radius, value in organs:
        shape = ellipsoid_distance(points, centre_xyz_mm=centre, radius_xyz_mm=radius)
        canvas.paint(np.maximum.reduce([shape, below, spine]), value)
    gas = ellipsoid_distance(
        points, centre_xyz_mm=(52.0, -34.0, top - 58.0), radius_xyz_mm=(30.0, 24.0, 28.0)
    )
    canvas.paint(np.maximum(gas, below + 4), AIR_HU)


def _spine() -> Tube:
    z = np.arange(-40.0, 360.0, 20.0)
    return tube([(0.0, float(anatomy.spine_front_mm(h)) + 17, float(h), 17.0) for h in z])


def _paint_bones(canvas: Canvas, points: Points) -> None:
    bone, cartilage = anatomy.ribs()
    canvas.paint(tube_distance(points, cartilage), CARTILAGE_HU)
    _bone(canvas, tube_distance(points, bone))
    for side in (-1.0, 1.0):
        _bone(canvas, _scapula(points, side))
    _bone(canvas, _sternum(points))
    _paint_spine(canvas, points)


def _bone(canvas: Canvas, distance: Distance) -> None:
    canvas.paint(distance, CORTEX_HU)
    canvas.paint(distance + 2, MARROW_HU)


def _scapula(points: Points, side: float) -> Distance:
    turn = rotation((0.0, 0.0, 38.0 * side))
    return ellipsoid_distance(
        points, centre_xyz_mm=(side * 102.0, 78.0, 222.0), radius_xyz_mm=(44.0, 5.0, 58.0), turn=turn.T
    )


def _sternum(points: Points) -> Distance:
    _, half_y, middle = anatomy.cage_half_mm(np.minimum(points[2], 235.0))
    depth = np.abs(points[1] - (middle - half_y - 5)) - 6
    width = np.abs(points[0]) - np.where(points[2] > 215, 24, 16)  # noqa: PLR2004 (the manubrium)
    height = np.abs(points[2] - 165) - 85
    return np.maximum.reduce([depth, width, height]).astype(np.float32)


def _paint_spine(canvas: Canvas, points: Points) -> None:
    """Paint vertebral bodies with discs, arches and processes round the canal."""
    behind = points[1] - anatomy.spine_front_mm(points[2])
    phase = np.mod(points[2], VERTEBRA_MM)
    disc = (np.abs(phase - VERTEBRA_MM / 2) - DISC_MM / 2).astype(np.float32)
    process = np.maximum(np.abs(points[0]) - 4, np.abs(behind - 62) - 18)
    wings = np.maximum.reduce([np.abs(points[0]) - 34, np.abs(behind - 45) - 5, 4 - disc])
    arch = np.hypot(points[0], behind - 42) - 15
    _bone(canvas, np.minimum.reduce([process, wings, arch]).astype(np.float32))
    body = tube_distance(points, _spine())
    _bone(canvas, np.maximum(body, -disc))
    canvas.paint(np.maximum(body + 1, disc), DISC_HU)
    canal = (np.hypot(points[0] / 1.15, behind - 42) - 9).astype(np.float32)
    canvas.paint(canal, 0.0)
    canvas.paint(canal + 3, CORD_HU)


def _paint_esophagus(
    canvas: Canvas, points: Points, distance: Distance, parameters: ThoraxParameters
) -> None:
    content = parameters.esophagus
    _label(canvas, "esophagus", canvas.paint(distance, content.wall_hu))
    level = np.clip(points[2], 0, 339).astype(np.int32)
    opened = openness(content, 340, step_mm=1.0)[level]
    lumen = np.where(opened > 0.5, distance + content.wall_mm, canvas.edge_mm).astype(np.float32)  # noqa: PLR2004
    canvas.paint(lumen, content.content_hu)


def _paint_airways(canvas: Canvas, points: Points, airways: Mapping[str, Distance]) -> None:
    both = np.minimum(airways["trachea"], airways["bronchi"])
    canvas.paint(both - AIRWAY_WALL_MM, WALL_HU)
    low = points[2] < anatomy.CARINA_MM - BRONCHUS_LABELLED_MM
    _label(canvas, "trachea", canvas.paint(both, AIR_HU) & ~low)
