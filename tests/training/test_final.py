import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.configuration import Configuration
from thoar.core.errors import InputError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Dataset
from thoar.inference.localisation import uncalibrated
from thoar.inference.predictor import Predictor
from thoar.network.coarse import CoarseMaps
from thoar.network.network import CoarseToFineNetwork
from thoar.training.cases import TrainingCase, prepare_cases
from thoar.training.final import read_validation, score_validation, write_validation

STRIDE_ZYX = (2, 2, 2)


class Knowing(nn.Module):
    """An encoder that looks the label ids up instead of at the image."""

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.labels = torch.from_numpy(np.array(labels)).float()[None, None]

    def forward(self, image: Tensor) -> list[Tensor]:
        assert image.shape == self.labels.shape
        return [self.labels, functional.max_pool3d(self.labels, STRIDE_ZYX)]


class Located(nn.Module):
    def __init__(self, label_set: LabelSet) -> None:
        super().__init__()
        self.label_set = label_set

    def forward(self, levels: list[Tensor]) -> CoarseMaps:
        masks = [(levels[0] == organ.id).float() for organ in self.label_set.organs]
        cells = functional.max_pool3d(torch.cat([torch.zeros_like(masks[0]), *masks], 1), STRIDE_ZYX)
        return CoarseMaps(cells, (cells,))


class Drawn(nn.Module):
    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, crops: list[Tensor]) -> Tensor:
        return (crops[0] == self.label).float()


@pytest.fixture
def case(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> TrainingCase:
    wanted = {"configuration": small_configuration(), "label_set": small_dataset.label_set}
    return prepare_cases(small_dataset.cases[:1], **wanted, folder=tmp_path / "kept")[0]


@pytest.fixture
def knows(
    small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> Callable[[np.ndarray], Predictor]:
    """A predictor whose answer is the given label map, whatever it is shown."""
    organs, configuration = small_dataset.label_set, small_configuration()

    def predictor(labels: np.ndarray) -> Predictor:
        network = CoarseToFineNetwork(
            encoder=Knowing(labels),
            coarse=Located(organs),
            fine={organ.name: Drawn(organ.id) for organ in organs.organs},
            strides_zyx=[(1, 1, 1), STRIDE_ZYX],
        )
        return Predictor(
            network=network,
            configuration=configuration,
            label_set=organs,
            localisation={name: uncalibrated(configuration.localisation, name) for name in organs.names},
            device="cpu",
        )

    return predictor


def without(case: TrainingCase, label: int, folder: Path) -> TrainingCase:
    """Return the case with an organ rubbed out of its labels."""
    labels = np.array(case.labels())
    labels[labels == label] = 0
    np.save(folder / "rubbed.npy", labels)
    return replace(case, labels_path=folder / "rubbed.npy")


def test_a_model_that_knows_the_truth_has_every_score_at_its_best(case, knows) -> None:
    record = score_validation(knows(case.labels()), [case])
    (scored,) = record.cases
    assert record.organs == tuple(scored.scores) == ("heart", "trachea")
    assert (scored.case_id, scored.group) == (case.id, case.group)
    for scores in scored.scores.values():
        assert scores.dice == scores.surface_dice == 1
        assert scores.hausdorff_mm == 0
    heart = np.count_nonzero(case.labels() == 2) * 6**3 / 1000
    assert scored.scores["heart"].reference_volume_ml == pytest.approx(heart)


def test_shift_by_a_voxel_is_measured_in_millimetres(case, knows) -> None:
    shifted = np.roll(case.labels(), 1, axis=0)
    (scored,) = score_validation(knows(shifted), [case]).cases
    assert 0.5 < scored.scores["heart"].dice < 1
    assert scored.scores["heart"].centroid_distance_mm == pytest.approx(6.0, abs=0.1)


def test_an_organ_that_is_not_labelled_has_no_score(case, knows) -> None:
    (scored,) = score_validation(knows(case.labels()), [replace(case, organs=("heart",))]).cases
    assert set(scored.scores) == {"heart"}


def test_an_organ_known_to_be_absent_is_undefined_where_none_is_drawn_and_zero_where_one_is(
    case, knows, tmp_path: Path
) -> None:
    lacking = without(case, 3, tmp_path)
    (right,) = score_validation(knows(lacking.labels()), [lacking]).cases
    (wrong,) = score_validation(knows(case.labels()), [lacking]).cases
    assert math.isnan(right.scores["trachea"].dice)
    assert wrong.scores["trachea"].dice == 0
    assert wrong.scores["trachea"].hausdorff_mm == math.inf


def test_record_comes_back_from_its_file_odd_numbers_and_all(case, knows, tmp_path: Path) -> None:
    lacking = without(case, 3, tmp_path)
    record = score_validation(knows(case.labels()), [case, lacking])
    path = tmp_path / "validation.json"
    write_validation(path, record)
    assert read_validation(path) == record
    raw = json.loads(path.read_text())
    assert raw["schema"] == "thoar.validation/1"
    assert raw["cases"][1]["scores"]["trachea"]["hausdorff_mm"] == "inf"


@pytest.mark.parametrize("content", ["", "[]", '{"cases": 3}', '{"organs": [], "cases": []}', "\xff"])
def test_damaged_record_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "validation.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"validation\.json"):
        read_validation(path)
