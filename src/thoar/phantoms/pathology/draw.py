"""How often illness and devices are met in patients with cancer of the lung or the esophagus, and how strong.

The frequencies are round numbers for one group of patients, not estimates of any one study: what counts is
that every illness is seen often enough to be learned and that most patients have few.
"""

from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np

from thoar.core.geometry import Vector3
from thoar.phantoms.pathology.record import (
    Aorta,
    Box,
    Collapse,
    Consolidation,
    Dependent,
    Deviation,
    Devices,
    Diaphragm,
    Emphysema,
    Fluid,
    Gullet,
    Heart,
    Nodes,
    Pathology,
    Side,
    Tumour,
)
from thoar.phantoms.structures import LOBES

HEALTHY_SHARE = 0.3
"""Of patients, those with nothing that would show."""

FREQUENCY = {
    "tumours": 0.5, "nodes": 0.25, "effusion": 0.15, "pneumothorax": 0.03, "collapse": 0.08, "dependent": 0.3,
    "consolidation": 0.12, "emphysema": 0.2, "deviation": 0.08, "diaphragm": 0.06,
    "aorta": 0.4, "heart": 0.35, "gullet": 0.3, "devices": 0.2,
}  # fmt: skip
"""Of each among the others, drawn one by one."""

CAVITY_FROM_MM = 12.0
"""Smaller masses hold no gas."""

Kind = TypeVar("Kind")


def draw_pathology(rng: np.random.Generator) -> Pathology:
    """Draw what is wrong with one patient."""
    seed = int(rng.integers(2**31))
    if _chance(rng, HEALTHY_SHARE):
        return Pathology(seed=seed)
    has = {name: _chance(rng, chance) for name, chance in FREQUENCY.items()}

    def drawn(name: str, draw: Callable[[np.random.Generator], Kind]) -> Kind | None:
        return draw(rng) if has[name] else None

    return Pathology(
        tumours=tuple(draw_tumour(rng) for _ in range(_few(rng))) if has["tumours"] else (),
        nodes=drawn("nodes", draw_nodes),
        effusion=drawn("effusion", draw_effusion),
        pneumothorax=drawn("pneumothorax", draw_pneumothorax),
        collapse=drawn("collapse", draw_collapse),
        dependent=drawn("dependent", draw_dependent),
        consolidation=drawn("consolidation", draw_consolidation),
        emphysema=drawn("emphysema", draw_emphysema),
        deviation=drawn("deviation", draw_deviation),
        diaphragm=drawn("diaphragm", draw_diaphragm),
        aorta=drawn("aorta", draw_aorta),
        heart=drawn("heart", draw_heart),
        gullet=drawn("gullet", draw_gullet),
        devices=drawn("devices", draw_devices),
        seed=seed,
    )


def draw_tumour(rng: np.random.Generator) -> Tumour:
    """Draw a mass of 10 to 90 mm; those at the hilum and between the lungs press."""
    sites: tuple[Literal["lung", "hilum", "mediastinum", "apex"], ...] = (
        "lung",
        "hilum",
        "mediastinum",
        "apex",
    )
    site = sites[int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1)))]
    radius = float(np.exp(rng.normal(np.log(16), 0.5)).clip(5, 45))
    central = site in ("hilum", "mediastinum")
    return Tumour(
        site=site,
        side=_side(rng),
        place=float(rng.random()),
        radius_mm=radius,
        shape_zyx=_vector(rng.uniform(0.75, 1.3, 3)),
        lumps=float(rng.uniform(0.05, 0.25)),
        spicules=float(rng.uniform(0, 0.5)) if _chance(rng, 0.5) else 0.0,
        cavity=float(rng.uniform(0.3, 0.7)) if radius > CAVITY_FROM_MM and _chance(rng, 0.12) else 0.0,
        press=float(rng.uniform(0.2, 0.7)) if central else 0.0,
    )


def draw_nodes(rng: np.random.Generator) -> Nodes:
    """Draw two to nine nodes of 10 to 30 mm."""
    count = int(rng.integers(2, 10))
    return Nodes(places=_floats(rng.random(count)), radius_mm=_floats(rng.uniform(5, 15, count)))


def draw_effusion(rng: np.random.Generator) -> Fluid:
    """Draw fluid on one side or both, mostly little."""
    left, right = _one_or_both(rng, rng.beta(1.2, 4.0, 2) * 0.9 + 0.02, both=0.45)
    return Fluid(
        left_share=left,
        right_share=right,
        slope=float(rng.uniform(0.4, 2.5)),
        band_mm=float(rng.uniform(0, 20)) if _chance(rng, 0.6) else 0.0,
    )


def draw_pneumothorax(rng: np.random.Generator) -> Fluid:
    """Draw air on one side."""
    left, right = _one_or_both(rng, rng.beta(1.2, 5.0, 2) * 0.6 + 0.02, both=0.0)
    return Fluid(left_share=left, right_share=right, slope=float(rng.uniform(0.7, 2.5)))


def draw_collapse(rng: np.random.Generator) -> Collapse:
    """Draw an airless lobe."""
    return Collapse(
        lobe=str(rng.choice(LOBES)), remains=float(rng.uniform(0.15, 0.6)), airways=_chance(rng, 0.5)
    )


def draw_dependent(rng: np.random.Generator) -> Dependent:
    """Draw a thin airless layer, and up to four plates."""
    return Dependent(depth_mm=float(rng.uniform(2, 14)), plates=_floats(rng.random(int(rng.integers(0, 5)))))


def draw_consolidation(rng: np.random.Generator) -> Consolidation:
    """Draw filled lung of 30 to 120 mm."""
    return Consolidation(
        side=_side(rng),
        place=float(rng.random()),
        radius_mm=float(rng.uniform(15, 60)),
        density=float(rng.uniform(0.5, 1.0)),
        airways=_chance(rng, 0.7),
    )


def draw_emphysema(rng: np.random.Generator) -> Emphysema:
    """Draw small holes, mostly above, and sometimes bullae of up to 80 mm."""
    count = int(rng.integers(1, 8)) if _chance(rng, 0.4) else 0
    return Emphysema(
        share=float(rng.beta(1.5, 4.0) * 0.7),
        hole_mm=float(rng.uniform(3, 8)),
        upper=float(rng.uniform(-0.3, 1.0)),
        bullae=_floats(rng.random(count)),
        bulla_mm=_floats(np.exp(rng.normal(np.log(12), 0.5, count)).clip(5, 40)),
    )


def draw_deviation(rng: np.random.Generator) -> Deviation:
    """Draw a trachea 5 to 20 mm off its way."""
    shift = float(rng.uniform(5, 20) * rng.choice((-1, 1)))
    return Deviation(
        shift_zyx_mm=(0.0, float(rng.normal(0, 3)), shift),
        level=float(rng.uniform(0.2, 0.9)),
        reach_mm=float(rng.uniform(45, 80)),
    )


def draw_diaphragm(rng: np.random.Generator) -> Diaphragm:
    """Draw a dome 15 to 50 mm too high."""
    return Diaphragm(side=_side(rng), lift_mm=float(rng.uniform(15, 50)))


def draw_aorta(rng: np.random.Generator) -> Aorta:
    """Draw mostly calcium; width, bends, thrombus and dissection are rarer."""
    wide, bent, dissected = rng.random(3) < (0.3, 0.35, 0.08)
    parts: tuple[Literal["all", "ascending", "descending"], ...] = ("all", "ascending", "descending")
    return Aorta(
        growth_mm=float(rng.uniform(1.5, 12)) if wide or dissected else 0.0,
        part=parts[int(rng.integers(3))],
        bends_mm=_floats(rng.normal(0, 12, int(rng.integers(1, 4))).clip(-25, 25)) if bent else (),
        calcium=float(rng.beta(1.2, 5.0) * 0.5) if _chance(rng, 0.75) else 0.0,
        thrombus_mm=float(rng.uniform(2, 9)) if wide and _chance(rng, 0.4) else 0.0,
        flap=float(rng.uniform(-60, 60)) if dissected else None,
        flap_turn=float(rng.normal(0, 300)),
        flap_offset=float(rng.uniform(-0.4, 0.4)),
        flap_part="all" if _chance(rng, 0.5) else "descending",
    )


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw mostly calcium; size, fluid and valves are rarer."""
    valves: tuple[Literal["none", "aortic", "mitral"], ...] = ("none", "aortic", "mitral")
    return Heart(
        growth_mm=float(rng.uniform(2, 9)) if _chance(rng, 0.4) else 0.0,
        effusion_mm=float(np.exp(rng.normal(np.log(5), 0.5)).clip(2, 18)) if _chance(rng, 0.25) else 0.0,
        calcium=int(rng.integers(1, 16)) if _chance(rng, 0.6) else 0,
        calcium_mm=float(rng.uniform(1.2, 3.0)),
        valve=valves[int(rng.choice(3, p=(0.93, 0.05, 0.02)))],
        valve_mm=float(rng.uniform(10, 14)),
    )


def draw_gullet(rng: np.random.Generator) -> Gullet:
    """Draw one or more of tumour, hernia, width and tube."""
    tumour, hernia, wide, tube = rng.random(4) < (0.4, 0.35, 0.25, 0.25)
    return Gullet(
        tumour_mm=float(rng.uniform(2, 8)) if tumour else 0.0,
        tumour_level=float(rng.uniform(0.08, 0.75)),
        tumour_length_mm=float(rng.uniform(25, 90)),
        dilation_mm=float(rng.uniform(2, 10)) if wide else 0.0,
        tube_mm=float(rng.uniform(1.5, 3.2)) if tube else 0.0,
        hernia_mm=float(rng.uniform(14, 42)) if hernia else 0.0,
        hernia_level_mm=float(rng.uniform(25, 70)),
        hernia_angle_deg=float(rng.uniform(-30, 210)),
        hernia_gas=float(rng.uniform(0, 0.8)) if _chance(rng, 0.7) else 0.0,
    )


def draw_devices(rng: np.random.Generator) -> Devices:
    """Draw one or more devices."""
    pacemaker, port, wires, cables = rng.random(4) < (0.25, 0.5, 0.2, 0.3)
    return Devices(
        pacemaker=_pacemaker(rng) if pacemaker else None,
        port=_port(rng) if port else None,
        wires=int(rng.integers(4, 8)) if wires else 0,
        cables=int(rng.integers(2, 6)) if cables else 0,
    )


def _pacemaker(rng: np.random.Generator) -> Box:
    return Box(
        side="left" if _chance(rng, 0.8) else "right",
        below_mm=float(rng.uniform(25, 60)),
        aside_mm=float(rng.uniform(5, 35)),
        half_mm=(float(rng.uniform(20, 27)), float(rng.uniform(3.5, 6)), float(rng.uniform(20, 27))),
        depth_mm=float(rng.uniform(3, 10)),
        leads=int(rng.integers(1, 4)),
    )


def _port(rng: np.random.Generator) -> Box:
    radius = float(rng.uniform(11, 16))
    return Box(
        side="right" if _chance(rng, 0.75) else "left",
        below_mm=float(rng.uniform(20, 55)),
        aside_mm=float(rng.uniform(0, 30)),
        half_mm=(radius, float(rng.uniform(4, 6.5)), radius),
        depth_mm=float(rng.uniform(3, 9)),
    )


def _chance(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _side(rng: np.random.Generator) -> Side:
    return "left" if _chance(rng, 0.5) else "right"


def _few(rng: np.random.Generator) -> int:
    return 1 + int(rng.choice(4, p=(0.7, 0.15, 0.1, 0.05)))


def _one_or_both(rng: np.random.Generator, shares: np.ndarray, *, both: float) -> tuple[float, float]:
    kept = (True, True) if _chance(rng, both) else ((True, False) if _chance(rng, 0.5) else (False, True))
    return float(shares[0] * kept[0]), float(shares[1] * kept[1])


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _vector(values: np.ndarray) -> Vector3:
    z, y, x = (float(v) for v in values)
    return (z, y, x)
