"""What may be wrong with a patient, or have been put into one: records only; ``None`` is healthy."""

from typing import Literal

import msgspec

from thoar.core.geometry import Vector3

Side = Literal["left", "right"]


class Tumour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mass.

    Attributes:
        site: where it grows; "apex" is a Pancoast tumour, which may reach into the chest wall.
        side: of the lungs; without meaning in the mediastinum.
        place: which of the site's voxels is the middle, as a share of all of them in raster order.
        radius_mm: mean half width.
        shape_zyx: half widths relative to the mean.
        lumps: roughness of the surface relative to the radius.
        spicules: reach of fine spikes relative to the radius.
        cavity: radius of the gas in the middle relative to the tumour's.
        press: how far neighbours are pushed, a share of the radius.
    """

    site: Literal["lung", "hilum", "mediastinum", "apex"]
    side: Side
    place: float
    radius_mm: float
    shape_zyx: Vector3 = (1.0, 1.0, 1.0)
    lumps: float = 0.15
    spicules: float = 0.0
    cavity: float = 0.0
    press: float = 0.0


class Nodes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enlarged lymph nodes in the mediastinum and at the hila.

    Attributes:
        places: of each, as in ``Tumour``.
        radius_mm: of each.
    """

    places: tuple[float, ...]
    radius_mm: tuple[float, ...]


class Fluid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What fills the space between a lung and its wall.

    Attributes:
        left_share: of the left lung's volume.
        right_share: of the right one's.
        slope: millimetres in height over which the layer at the wall becomes a millimetre thicker.
        band_mm: height of the airless lung that floats on it.
    """

    left_share: float
    right_share: float
    slope: float = 1.0
    band_mm: float = 0.0


class Collapse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lobe without air, drawn to the mediastinum; its neighbours take its room.

    Attributes:
        lobe: name of the structure.
        remains: share of the lobe's volume.
        airways: whether they still hold air.
    """

    lobe: str
    remains: float
    airways: bool


class Dependent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Airless lung where it lies on the couch, and plates of it.

    Attributes:
        depth_mm: largest thickness along gravity.
        plates: middles of flat bands, as in ``Tumour``.
    """

    depth_mm: float
    plates: tuple[float, ...] = ()


class Consolidation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lung filled by inflammation, or scarred after radiation.

    Attributes:
        side: of the lungs.
        place: of the middle, as in ``Tumour``.
        radius_mm: about the size.
        density: share of the middle that is airless.
        airways: whether they still hold air.
    """

    side: Side
    place: float
    radius_mm: float
    density: float
    airways: bool


class Emphysema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holes in the lungs.

    Attributes:
        share: of the lungs' volume.
        hole_mm: size of the small ones.
        upper: how much more there is above than below, -1 to 1.
        bullae: places of big ones near the pleura, as in ``Tumour``.
        bulla_mm: their radii.
    """

    share: float
    hole_mm: float
    upper: float
    bullae: tuple[float, ...] = ()
    bulla_mm: tuple[float, ...] = ()


class Deviation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trachea and its neighbours drawn or pushed to a side.

    Attributes:
        shift_zyx_mm: at the middle.
        level: height of the middle, a share of the trachea from below.
        reach_mm: where the shift has faded.
    """

    shift_zyx_mm: Vector3
    level: float
    reach_mm: float


class Diaphragm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dome that stands too high.

    Attributes:
        side: which dome.
        lift_mm: by how much.
    """

    side: Side
    lift_mm: float


class Aorta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sick aorta.

    Attributes:
        growth_mm: added to the radius; 0 for none.
        part: where it is wide.
        bends_mm: sideways shifts of the descending aorta, from above down.
        calcium: share of the wall.
        thrombus_mm: largest thickness on the wall.
        flap: direction of the flap in degrees; None without dissection.
        flap_turn: its turn in degrees per metre of height.
        flap_offset: place of the flap across the aorta, 0 the middle, ±1 the wall.
        flap_part: what is dissected (Stanford A: all; B: descending).
    """

    growth_mm: float = 0.0
    part: Literal["all", "ascending", "descending"] = "all"
    bends_mm: tuple[float, ...] = ()
    calcium: float = 0.0
    thrombus_mm: float = 0.0
    flap: float | None = None
    flap_turn: float = 300.0
    flap_offset: float = 0.0
    flap_part: Literal["all", "descending"] = "all"


class Heart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sick heart.

    Attributes:
        growth_mm: outwards, all around.
        effusion_mm: mean thickness of fluid in the pericardium.
        calcium: number of plaques in the coronary arteries.
        calcium_mm: radius of the largest.
        valve: what was replaced.
        valve_mm: radius of its ring.
    """

    growth_mm: float = 0.0
    effusion_mm: float = 0.0
    calcium: int = 0
    calcium_mm: float = 2.0
    valve: Literal["none", "aortic", "mitral"] = "none"
    valve_mm: float = 12.0


class Gullet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sick esophagus.

    Attributes:
        tumour_mm: thickening of the wall; 0 for none.
        tumour_level: its middle, a share of the esophagus from below.
        tumour_length_mm: along the esophagus.
        dilation_mm: added to the radius, above the tumour or everywhere.
        tube_mm: radius of a nasogastric tube; 0 for none.
        hernia_mm: half width of a hiatal hernia; 0 for none.
        hernia_level_mm: height of its middle over the lower end of the esophagus.
        hernia_angle_deg: where it lies: 0 to the left of the esophagus, 90 before it, 180 to the right.
        hernia_gas: share of it that is gas.
    """

    tumour_mm: float = 0.0
    tumour_level: float = 0.4
    tumour_length_mm: float = 60.0
    dilation_mm: float = 0.0
    tube_mm: float = 0.0
    hernia_mm: float = 0.0
    hernia_level_mm: float = 35.0
    hernia_angle_deg: float = 60.0
    hernia_gas: float = 0.0


class Box(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pacemaker or a port under the skin, with what leads from it to the heart.

    Attributes:
        side: of the chest.
        below_mm: its middle under the top of the lung.
        aside_mm: its middle beside the middle of that lung's top, outwards.
        half_mm: half height, half thickness, half width.
        depth_mm: tissue over it.
        leads: how many run to the right heart; a port's catheter ends above it.
    """

    side: Side
    below_mm: float
    aside_mm: float
    half_mm: Vector3
    depth_mm: float
    leads: int = 1


class Devices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Things put in or on the patient.

    Attributes:
        pacemaker: with leads.
        port: with a catheter.
        wires: loops through the sternum.
        cables: electrodes on the skin.
    """

    pacemaker: Box | None = None
    port: Box | None = None
    wires: int = 0
    cables: int = 0


class Pathology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is wrong with one patient; without arguments, nothing."""

    tumours: tuple[Tumour, ...] = ()
    nodes: Nodes | None = None
    effusion: Fluid | None = None
    pneumothorax: Fluid | None = None
    collapse: Collapse | None = None
    dependent: Dependent | None = None
    consolidation: Consolidation | None = None
    emphysema: Emphysema | None = None
    deviation: Deviation | None = None
    diaphragm: Diaphragm | None = None
    aorta: Aorta | None = None
    heart: Heart | None = None
    gullet: Gullet | None = None
    devices: Devices | None = None
    seed: int = 0
