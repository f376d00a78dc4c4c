import copy
import os
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from cpu_engines import Bench, alone
from engines.on_graphs import Encoded, crops_of
from engines.page import page
from engines.results import Agreement, Call, Errors, Results, Seconds, Timing
from engines.rounding import POLICIES, Policy, rounded
from engines.subjects import DRAWN, ORGANS, Task, make_task, network_of, subject_of
from engines.trial import compared, masks_of, timed
from engines.variants import EAGER, ROUNDED, VARIANTS, Variant
from made_cases import image_of, labels_of

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, write_dataset
from thoar.io.formats import write_labels, write_volume

TINY, FAST = "tiny", "thorax-fast"
PARTS = ("encode", *DRAWN)
BY_TORCH = [name for name, one in VARIANTS.items() if not (one.needs or one.compiles)]
GRAPHS = [name for name, one in VARIANTS.items() if one.needs]
LARGEST_ERROR = {"int8": 0.25, "bfloat16": 0.1, "float16": 5e-3, "OpenVINO float32": 5e-3}
"""Of levels; others are float32. OpenVINO adds up means in float32, which leaves 1e-3."""
CALL = Call(
    code={"commit": "abc", "changed": "no", "torch": "2", "phantoms_sha256": "12", "openvino": "absent"},
    processor="a processor", threads=4, began="2026-01-02 03:04", load_before=0.1,
)  # fmt: skip
TASK = Task(
    shape_zyx=(8, 16, 16),
    boxes={organ: Box.of_shape((4, 8, 8)) for organ in DRAWN},
    gflop={"encode": 100.0, "heart": 10.0, "aorta": 20.0},
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def body_of(labels):
    """Return HU of a body that the shipped model takes for one: fat, water and lungs around the organs."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in labels.shape), indexing="ij", sparse=True)
    hu = np.full(labels.shape, -1000.0)
    hu[np.broadcast_to((y / 0.8) ** 2 + (x / 0.95) ** 2 < 1, hu.shape)] = -80
    hu[np.broadcast_to((y / 0.7) ** 2 + (x / 0.85) ** 2 < 1, hu.shape)] = 20
    for side in (-1, 1):
        hu[((x - side * 0.42) / 0.33) ** 2 + (y / 0.55) ** 2 + ((z - 0.1) / 0.95) ** 2 < 1] = -850
    for organ, value in {"heart": 40, "aorta": 120, "esophagus": 30, "trachea": -1000}.items():
        hu[labels == SEGTHOR.organ(organ).id] = value
    return hu + np.random.default_rng(0).normal(0, 12, hu.shape)


def dataset_of(folder, hu, labels, spacing_zyx_mm):
    grid = Geometry.axial(labels.shape, spacing_zyx_mm)
    case = Case(
        id="one", image=folder / "one.nii.gz", label=folder / "labels.nii.gz", organs=ORGANS, group="one"
    )
    write_volume(case.image, Volume(voxels=hu.astype(np.float32), geometry=grid))
    write_labels(case.label, LabelVolume(voxels=labels, geometry=grid, label_set=SEGTHOR))
    write_dataset(folder, Dataset(root=folder, label_set=SEGTHOR, cases=(case,)))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A data set of one body of random values, small enough for everything."""
    labels = labels_of((24, 56, 64))
    hu = 2000 * image_of(labels.shape, labels, np.random.default_rng(0)) - 1000
    return dataset_of(tmp_path_factory.mktemp("small"), hu, labels, (3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A data set of one body in which the shipped model finds heart and aorta."""
    labels = labels_of((48, 48, 60))
    return dataset_of(tmp_path_factory.mktemp("sample"), body_of(labels), labels, (5.0, 5.0, 6.0))


@pytest.fixture(scope="module")
def work(small, tmp_path_factory):
    """A folder that holds the tasks of a tiny network and of the shipped one."""
    folder = tmp_path_factory.mktemp("work")
    for name in (TINY, FAST):
        make_task(name, small, folder)
    return folder


def error_of(variant, work):
    if lacks := VARIANTS[variant].lacks:
        pytest.skip(f"needs {lacks}")
    return compared(TINY, variant, work, 1)


def largest_error(variant):
    return next((most for kind, most in LARGEST_ERROR.items() if kind in variant), 1e-5)


def timing(variant, seconds, *, subject=FAST):
    return Timing(
        subject=subject, variant=variant, making_s=3.0, working_mib=500.0, peak_mib=None,
        seconds={part: Seconds(wall=seconds, cpu=2 * seconds) for part in PARTS},
    )  # fmt: skip


def agreements(variant, dice):
    return [Agreement(variant=variant, case="one", organ=organ, dice=dice, change=0.0005) for organ in ORGANS]


def test_the_task_is_the_prepared_scan_and_boxes_on_the_coarse_grid(work):
    subject = subject_of(TINY, work)
    assert tuple(subject.image.shape[2:]) == subject.task.shape_zyx
    stride = subject.network.strides_zyx[-1]
    whole = Box.of_shape(subject.task.shape_zyx)
    for box in subject.task.boxes.values():
        assert whole.contains(box.scaled_down(stride).scaled_up(stride))
        assert box.voxels < whole.voxels
    assert set(subject.task.gflop) == set(PARTS)


def test_arithmetic_is_that_of_the_convolutions(work):
    subject = subject_of(TINY, work)
    counted = []
    for module in subject.network.encoder.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(
                lambda m, _, made: counted.append(2 * made.numel() * m.weight[0].numel())
            )
    with torch.inference_mode():
        subject.network.encode(subject.image)
    assert sum(counted) / 1e9 < subject.task.gflop["encode"] < 1.1 * sum(counted) / 1e9


def test_weights_of_a_recipe_are_those_of_a_fixed_seed():
    one, other = (network_of(TINY).state_dict() for _ in range(2))
    assert all(torch.equal(values, other[name]) for name, values in one.items())


@pytest.mark.parametrize("variant", [name for name in BY_TORCH if name != EAGER])
def test_every_way_on_torch_computes_what_the_modules_do(variant, work):
    error = error_of(variant, work)
    most = largest_error(variant)
    assert max(error.levels) < most
    assert max(error.coarse, *error.fine.values()) < 3 * most
    if "bfloat16" in variant or "float16" in variant:
        assert min(error.levels) > 1e-5, "nothing was rounded, so the modules were compared with themselves"


@pytest.mark.parametrize("variant", GRAPHS)
def test_every_engine_of_graphs_computes_what_the_modules_do(variant, work):
    error = error_of(variant, work)
    assert max(error.levels) < largest_error(variant)
    assert set(error.fine) == set(DRAWN)
    assert max(error.coarse, *error.fine.values()) < 2 * largest_error(variant)
    if "int8" in variant:
        assert min(error.levels) > 1e-4, "nothing was quantised"


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name, one in VARIANTS.items() if one.compiles])
def test_what_inductor_compiles_computes_what_the_modules_do(variant, work):
    if lacks := VARIANTS[variant].lacks:
        pytest.skip(f"needs {lacks}")
    error = alone(compared, TINY, variant, work, 1)  # what tests check the types of cannot be compiled
    assert max(error.levels) < largest_error(variant)


def test_a_decoder_s_graph_is_given_the_image_with_one_voxel_around_its_box():
    image = torch.arange(4 * 6 * 6, dtype=torch.float32).view(1, 1, 4, 6, 6) + 1
    values = {"level_1": image[..., ::2, ::2].numpy(), "stem_mean": np.zeros(1), "stem_scale": np.ones(1)}
    levels = Encoded(image=image, values=values, count=2)
    box = Box(start_zyx=(1, 0, 2), stop_zyx=(3, 4, 6))
    given = crops_of(levels, box, [(1, 1, 1), (1, 2, 2)])
    assert given["image"].shape == (1, 1, 4, 6, 6)
    np.testing.assert_array_equal(given["image"][..., 1:-1, 1:-1, 1:-1], image[(..., *box.slices)])
    assert not given["image"][..., 0, :].any()  # beyond the image
    assert given["image"][0, 0, 0, 1, 1] == image[0, 0, 0, 0, 2]  # inside of it
    np.testing.assert_array_equal(given["level_1"], image[..., 1:3, 0:4:2, 2:6:2])


def test_rounding_to_float32_changes_nothing(work):
    subject = subject_of(TINY, work)
    with torch.inference_mode():
        wanted = copy.deepcopy(subject.network).encode(subject.image)
        found = rounded(subject.network, Policy()).encode(subject.image)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("policy", "stem", "blocks", "fine"),
    [
        ({"last": torch.bfloat16}, False, False, True),
        ({"heads": torch.bfloat16}, False, False, False),
        ({"operands": torch.bfloat16}, False, True, True),
        ({"image": torch.bfloat16}, True, True, True),
        ({"stem": torch.bfloat16}, True, True, True),
        ({"summands": torch.bfloat16}, False, True, True),
    ],
)
def test_a_policy_rounds_its_own_part_alone(policy, stem, blocks, fine, work):
    subject = subject_of(TINY, work)
    organ, box = next(iter(subject.task.boxes.items()))

    def outputs(network):
        with torch.inference_mode():
            levels = network.encode(subject.image)
            return levels[0], levels[-1], network.draw(levels, organ, box), network.locate(levels).probability

    plain = outputs(rounded(copy.deepcopy(subject.network), Policy()))
    changed = outputs(rounded(subject.network, Policy(**policy)))
    differs = [not torch.equal(*pair) for pair in zip(plain, changed, strict=True)]
    assert differs == [stem, blocks, fine, blocks or "heads" in policy]


def test_every_policy_is_another_one():
    assert len(set(POLICIES.values())) == len(POLICIES)


def test_masks_are_compared_with_those_of_the_modules_and_with_the_reference(sample, work):
    same, rounded_ = (masks_of(FAST, name, work, 1, (sample,)) for name in (EAGER, "all bfloat16"))
    assert [agreement.organ for agreement in same] == list(ORGANS)
    assert all(agreement.dice == 1 and agreement.change == 0 for agreement in same)
    heart = rounded_[ORGANS.index("heart")]
    assert 0.9 < heart.dice < 1
    assert 0 < abs(heart.change) < 0.05


@pytest.mark.parametrize(
    ("dice", "change", "kept"),
    [(0.998, 0.001, True), (0.9979, 0.0, False), (1.0, -0.0011, False), (float("nan"), 0.0, False)],
)
def test_a_mask_is_kept_within_both_bounds(dice, change, kept):
    agreement = Agreement(variant="v", case="c", organ="heart", dice=dice, change=change)
    assert agreement.is_kept == kept


def test_a_trial_says_what_each_part_took(work):
    found = timed(TINY, "oneDNN everywhere", work, 1)
    assert set(found.seconds) == set(PARTS)
    assert all(seconds.wall > 0 and seconds.cpu > 0 for seconds in found.seconds.values())
    assert found.making_s > sum(seconds.wall for seconds in found.seconds.values()) / 2
    assert found.peak_mib is None or found.peak_mib > 50
    assert found.working_mib is None or 50 < found.working_mib <= found.peak_mib


def test_what_is_absent_is_named():
    assert Variant(make=lambda *_: None, needs=("no_such_engine", "os")).lacks == "no_such_engine"
    assert not VARIANTS[EAGER].lacks


def test_what_fails_in_its_process_comes_back():
    assert isinstance(alone(os.listdir, "no such folder", may_fail=True), FileNotFoundError)


def test_results_are_kept_for_parts_that_are_not_measured_again(small, work, tmp_path):
    given = SimpleNamespace(
        work=work, threads=1, rounds=1, subjects=(TINY,), variants=[EAGER], sample=small, phantoms=small,
        output=tmp_path / "page.md",
    )  # fmt: skip
    error = Errors(subject=TINY, variant=EAGER, levels=[0.25], coarse=0.0, fine=dict.fromkeys(DRAWN, 0.0))
    tasks = {name: subject_of(name, work).task for name in (TINY, FAST)}
    older = Results(tasks=tasks, errors=[error], timings=[timing(EAGER, 99.0, subject=TINY)])
    (tmp_path / "page.json").write_bytes(msgspec.json.encode(older))
    bench = Bench(given)
    bench.times()
    assert bench.results.errors == [error]
    (measured,) = bench.results.timings
    assert 0 < measured.seconds["encode"].wall < 99
    text = (tmp_path / "page.md").read_text()
    assert "| eager float32 | 2.5e-01 |" in text
    assert "## tiny: time and memory" in text


def test_the_page_names_the_fastest_that_keeps_every_mask():
    seconds_of = {EAGER: 2.0, "slabs bfloat16": 0.5, "autocast bfloat16": 0.25, "OpenVINO bfloat16": 0.125}
    results = Results(
        calls={"times": CALL, "masks": CALL},
        tasks={FAST: TASK},
        absent={"OpenVINO int8": "not here: openvino"},
        timings=[timing(name, seconds) for name, seconds in seconds_of.items()],
        errors=[Errors(subject=FAST, variant=EAGER, levels=[0.0, 1e-3], coarse=0.5, fine={"heart": 0.1})],
        masks=[*agreements("slabs bfloat16", 0.999), *agreements("autocast bfloat16", 0.99)],
        rounding=agreements(next(iter(ROUNDED)), 0.9),
    )
    text = "\n".join(page(msgspec.json.decode(msgspec.json.encode(results), type=Results)))
    assert "- fastest of all: OpenVINO bfloat16, 0.375 s (16.0 times as fast)" in text
    assert "- fastest that keeps every mask of thorax-fast: slabs bfloat16, 1.5 s (4.0 times as fast)" in text
    assert "- fastest with torch alone: autocast bfloat16, 0.75 s (8.0 times as fast)" in text
    assert "| slabs bfloat16 | 0.5 | 200 | 0.5 | 20 | 0.5 | 3 | 3 / 3 | 500 | – |" in text
    assert "| eager float32 | 1.0e-03 | 5.0e-01 | 1.0e-01 |" in text
    assert "| autocast bfloat16 |" in text
    assert "| 0.9900, +0.0005 | 0 of 4 | 0.01000 |" in text
    assert "- OpenVINO int8: not here: openvino" in text
    assert "commit abc, a processor, 4 threads" in text


def test_a_page_without_measurements_says_nothing_of_them():
    assert "fastest" not in "\n".join(page(Results(tasks={FAST: TASK})))
