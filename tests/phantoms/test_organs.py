import torch

from thoar.core.labels import SEGTHOR, THORAX
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.organs import organ_masks
from thoar.phantoms.structures import IDS, LOOK_ALIKES, STRUCTURES, organ_labels


def every_structure() -> BodyMap:
    structure = torch.arange(len(IDS), dtype=torch.uint8).repeat_interleave(64).reshape(-1, 8, 8)
    return BodyMap(structure=structure, spacing_zyx_mm=(3.0, 3.0, 3.0))


def test_no_structure_belongs_to_two_organs() -> None:
    assert organ_masks(every_structure(), THORAX.names).sum(dim=0).max() == 1


def test_segthors_organs_are_the_same_with_and_without_the_others() -> None:
    body = every_structure()
    masks = organ_masks(body, THORAX.names)[: len(SEGTHOR.organs)]
    assert torch.equal(masks, organ_masks(body, SEGTHOR.names))
    labels = organ_labels(body.structure)
    assert all(torch.equal(m, labels == o.id) for m, o in zip(masks, SEGTHOR.organs, strict=True))


def test_the_cord_is_the_sac_around_it_but_not_the_whole_canal() -> None:
    (mask,) = organ_masks(every_structure(), ("spinal_cord",))
    assert set(every_structure().structure[mask].tolist()) == {IDS["dural_sac"], IDS["spinal_cord"]}


def test_look_alikes_have_ids_of_their_own_and_look_like_structures() -> None:
    assert set(LOOK_ALIKES.values()) <= set(STRUCTURES)
    assert not set(LOOK_ALIKES) & set(STRUCTURES)
    assert sorted(IDS.values()) == list(range(len(STRUCTURES) + len(LOOK_ALIKES)))
