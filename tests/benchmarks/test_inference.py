import msgspec
import nnunet.patches
import numpy as np
import pytest
import torch
from costs import Cost
from made_cases import image_of, labels_of
from whole_scans import peak
from whole_scans.arithmetic import gflop_of
from whole_scans.contenders import Terms, parts_of, takes_part
from whole_scans.figure import figure
from whole_scans.goals import goals_of
from whole_scans.models import configuration_of, model_of
from whole_scans.once import Task, segmented
from whole_scans.page import page
from whole_scans.results import (
    About,
    Call,
    Measurement,
    Patches,
    Results,
    Starts,
    merged,
    typical,
)
from whole_scans.scans import GRIDS, MADE_ZYX_MM, Grid, Scan, parameters, placed
from whole_scans.told import Pass, WatchedNetwork, write_truth

from inference import turns, usual_contenders, usual_scans, with_one
from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.inference.slabs.precision import has_fast_bfloat16
from thoar.io.formats import read_labels, write_labels, write_volume
from thoar.network.network import build_network
from thoar.training.memory import inference_cost

SHAPE = (24, 56, 64)
STAGES = {"read", "prepare", "encode", "locate", "draw", "paste", "write"}
COST = Cost(wall_s=9.0, cpu_s=8.0, peak_mib=1000.0)
CODE = {"commit": "abc", "changed": "no", "torch": "2", "date": "2026-01-02"}
ABOUT = About(processor="a processor", device="cpu", threads=4, code=CODE)
CALL = Call(command="WORK", began="10:00", ended="11:00", load_before=0.1, load_after=0.2)


def one(contender="paper-float32", scan="sample", *, total_s=10.0, peak_mib=1000.0, **changed):
    """Return a measurement: a tenth of the time is no network's, four tenths are the encoder's."""
    seconds = {"read": 0.1 * total_s, "encode": 0.4 * total_s, "draw": 0.5 * total_s}
    measured = Measurement(
        contender=contender, scan=scan, shape_zyx=(133, 512, 512), seconds=seconds, total_s=total_s,
        first_s=12.0, cost=msgspec.structs.replace(COST, peak_mib=peak_mib),
        gflop={"encode": 2000.0, "draw": 500.0}, found=list(SEGTHOR.names),
    )  # fmt: skip
    return msgspec.structs.replace(measured, **changed)


def theirs(scan="sample", *, total_s=400.0, computed=6, contender="nnunet", **changed):
    seconds = {"read": 1.0, "preprocess": 4.0, "network": total_s - 10, "export": 5.0}
    patches = Patches(number=48, computed=computed, patch_s=8.0, patch_gflop=1051.0)
    return one(
        contender,
        scan,
        total_s=total_s,
        seconds=seconds,
        patches=patches,
        gflop={"network": 50448.0},
        **changed,
    )


def results_of(*measurements, **changed):
    return msgspec.structs.replace(
        Results(about=ABOUT, calls=[CALL], measurements=list(measurements)), **changed
    )


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A small body with four ellipsoids."""
    place, labels = tmp_path_factory.mktemp("scan"), labels_of(SHAPE)
    hu = 2000 * image_of(SHAPE, labels, np.random.default_rng(0)) - 1000
    geometry = Geometry.axial(SHAPE, (3.0, 2.0, 2.0))
    made = Scan(name="tiny", image=place / "scan.nii.gz", labels=place / "GT.nii.gz")
    write_volume(made.image, Volume(voxels=hu.astype(np.int16), geometry=geometry))
    write_labels(made.labels, LabelVolume(voxels=labels, geometry=geometry, label_set=SEGTHOR))
    return made


@pytest.fixture(scope="module")
def done(scan, tmp_path_factory):
    """What an untrained network made of it, and where."""
    work, threads = tmp_path_factory.mktemp("work"), torch.get_num_threads()
    truth = work / "truth.npy"
    write_truth(truth, scan.image, scan.labels, configuration_of("paper-narrow"))
    task = Task(
        image=str(scan.image), model=model_of(work, "paper-narrow"), precision="float32", device="cpu",
        threads=1, truth=str(truth), times=2, out=str(work / "out"),
    )  # fmt: skip
    found = segmented(task)
    torch.set_num_threads(threads)
    return found, work / "out"


def test_an_untrained_network_that_is_told_the_answer_draws_the_organs(done, scan):
    found, out = done
    assert set(found.found) == set(SEGTHOR.names)
    drawn, wanted = (read_labels(path, SEGTHOR).voxels for path in (out / "segmentation.nii.gz", scan.labels))
    for organ in SEGTHOR.organs:
        one_, other = drawn == organ.id, wanted == organ.id
        assert 2 * (one_ & other).sum() / (one_.sum() + other.sum()) > 0.9


def test_every_time_and_every_stage_is_told(done):
    found, _ = done
    assert len(found.total_s) == 2
    assert set(found.seconds) == STAGES
    assert sum(found.seconds.values()) <= found.total_s[-1]
    assert found.shape_zyx == SHAPE
    assert found.gpu_mib is None


def test_what_the_network_saw_is_known_box_by_box(done):
    seen = done[0].seen
    assert {organ for organ, _ in seen.boxes_zyx} == set(SEGTHOR.names)
    whole = np.prod(seen.image_zyx)
    assert all(0 < np.prod(shape) < whole for _, shape in seen.boxes_zyx)


def test_a_network_that_is_told_nothing_answers_as_it_would():
    configuration = configuration_of("paper-narrow")
    network = build_network(configuration.network, SEGTHOR.names).eval()
    watched, image, box = (
        WatchedNetwork(network, None),
        torch.rand(1, 1, 8, 32, 32),
        Box.of_shape((8, 32, 32)),
    )
    with torch.inference_mode():
        levels = watched.encode(image)
        assert torch.equal(watched.locate(levels).probability, network.locate(levels).probability)
        assert torch.equal(watched.draw(levels, "heart", box), network.draw(levels, "heart", box))
    assert watched.passes == [Pass((8, 32, 32), [("heart", (8, 32, 32))])]
    assert watched.drawn == network.drawn


def test_labels_of_another_grid_are_refused():
    network = build_network(configuration_of("paper-narrow").network, SEGTHOR.names).eval()
    watched = WatchedNetwork(network, np.zeros((8, 32, 40), dtype=np.uint8))
    with pytest.raises(GeometryError, match="8, 32, 40"):
        watched.encode(torch.rand(1, 1, 8, 32, 32))


def test_arithmetic_is_what_training_counts_and_a_second_drawing_counts_again():
    configuration, box = configuration_of("paper-narrow"), (8, 32, 32)
    once, twice = (
        gflop_of(configuration, SEGTHOR.names, Pass((16, 64, 64), [("heart", box)] * times))
        for times in (1, 2)
    )
    cost = inference_cost(configuration, SEGTHOR.names, shape_zyx=(16, 64, 64), boxes_zyx={"heart": box})
    assert sum(once.values()) == pytest.approx(cost.flops / 1e9)
    assert twice == {**once, "draw": pytest.approx(2 * once["draw"])}


def test_the_body_keeps_its_size_and_place_on_every_grid_and_goes_on_where_a_grid_is_longer():
    labels = np.zeros((12, 40, 44), dtype=np.uint8)
    labels[0:8, 10:20, 16:30] = 2
    hu = np.where(labels, 60, -80).astype(np.int16)
    half = tuple(s / 2 for s in MADE_ZYX_MM)
    same, ids = placed(hu, labels, Grid(shape_zyx=(12, 60, 64), spacing_zyx_mm=MADE_ZYX_MM))
    assert np.array_equal(ids.voxels[:, 10:50, 10:54], labels)
    assert same.voxels[:, 10:50, 10:54][labels == 2].mean() == pytest.approx(60, abs=1)
    assert same.voxels[:, :10].mean() == pytest.approx(-1000, abs=1)
    _, finer = placed(hu, labels, Grid(shape_zyx=(48, 80, 88), spacing_zyx_mm=half))
    volume_ml = [np.count_nonzero(a.voxels) * a.geometry.voxel_volume_ml for a in (ids, finer)]
    assert volume_ml[1] / volume_ml[0] == pytest.approx((20 + 15) / 20, rel=0.05)  # 20 mm, and 15 below them
    assert finer.voxels[:12].any(axis=(1, 2)).all()
    assert not finer.voxels[-6:].any()


def test_the_body_is_an_adult_in_full_view_on_grids_of_hospital_size():
    field = parameters().field
    assert (field.bottom, field.top, parameters().posture) == (0.0, 1.0, "supine")
    shapes = [GRIDS[name].shape_zyx for name in ("x178", "x300", "x600")]
    assert shapes == [(178, 512, 512), (300, 512, 512), (600, 512, 512)]


def test_everybody_takes_turns_on_every_scan():
    scans = [Scan(name=name, image=None, labels=None) for name in ("sample", "sample-dicom")]
    found = [
        (who, scan.name) for who, scan in turns(["a-float32", "nnunet"], scans, rounds=2, whole=["sample"])
    ]
    first = [
        ("a-float32", "sample"),
        ("nnunet", "sample"),
        ("nnunet-whole", "sample"),
        ("a-float32", "sample-dicom"),
    ]
    assert found == [*first, *(turn for turn in first if turn[0] != "nnunet-whole")]


def test_who_takes_part_depends_on_the_machine(tmp_path):
    terms = Terms(work=tmp_path, device="cpu", threads=1, times=1, peer=None, patches=6)
    usual = usual_contenders(terms, short=False)
    assert ("paper-bfloat16" in usual) == has_fast_bfloat16(torch.device("cpu"))
    assert {"paper-float32", "fast-float32", "paper-modules"} < set(usual)
    assert "nnunet" not in usual
    assert usual_scans("cuda:0", short=False)[:3] == ("sample", "sample-nii", "sample-dicom")
    assert not takes_part("nnunet", "sample-dicom")


def test_a_contender_without_a_known_precision_is_refused():
    assert parts_of("paper-narrow-bfloat16") == ("paper-narrow", "bfloat16")
    with pytest.raises(ValueError, match="paper-int8"):
        parts_of("paper-int8")


def test_patches_that_are_not_computed_take_the_last_result_and_are_counted_in_time():
    network, seen = torch.nn.Linear(2, 2), []
    network.register_forward_hook(lambda *_: seen.append(1))
    patches = nnunet.patches.Patches(network, 2)
    with torch.inference_mode():
        results = [network(torch.full((2,), float(number))) for number in range(5)]
        results[3].zero_()
    assert torch.equal(results[4], results[1])
    assert not torch.equal(results[0], results[1])
    assert patches.computed == 2
    assert len(patches.seconds) == 5
    patches.seconds = [9.0, 2.0, 0.1, 0.1, 0.1]
    assert patches.whole_s(12.0) == pytest.approx(12.0 - 0.3 + 3 * 2.0)


def test_all_patches_are_computed_where_no_number_is_given():
    network = torch.nn.Linear(2, 2)
    patches = nnunet.patches.Patches(network, None)
    results = [network(torch.full((2,), float(number))) for number in range(3)]
    assert not torch.equal(results[1], results[2])
    assert patches.computed == 3
    assert patches.whole_s(7.0) == 7.0


def test_the_fastest_product_is_the_peak(monkeypatch):
    monkeypatch.setattr(peak, "LEAST_S", 0.0)
    monkeypatch.setattr(peak, "SIZES", {"cpu": (64,)})
    threads = torch.get_num_threads()
    found = peak.peak_of("float32", "cpu", 1)
    torch.set_num_threads(threads)
    assert found.gflop_per_s == max(found.gflop_per_s, *found.others.values()) > 0
    assert len(found.others) >= 2


def test_the_median_of_the_rounds_counts():
    rounds = [one(total_s=seconds) for seconds in (9.0, 30.0, 10.0)]
    assert typical(rounds) == rounds[2]
    assert typical(rounds[:2]) == rounds[0]


def test_results_join_those_of_the_same_machine_and_code():
    older = results_of(theirs(), one(total_s=99.0), starts=Starts(help_s=0.1, cold_s=2.0, loaded_s=1.0))
    newer = with_one(with_one(results_of(), one(total_s=10.0)), one(total_s=11.0))
    both = merged(older, newer)
    assert both.of("nnunet", "sample") == theirs()
    assert [m.total_s for m in both.measurements if m.contender == "paper-float32"] == [10.0, 11.0]
    assert both.starts == older.starts
    assert len(both.calls) == 2
    for changed in ({"threads": 2}, {"processor": "other"}, {"code": {**CODE, "commit": "abd"}}):
        other = msgspec.structs.replace(older, about=msgspec.structs.replace(ABOUT, **changed))
        assert merged(other, newer) == newer


def verdicts(results):
    return {goal.said: (goal.shown, goal.verdict) for goal in goals_of(results)}


def test_goals_are_met_missed_or_not_measured():
    peaks = {"float32": peak.Peak(precision="float32", gflop_per_s=1000.0, by="a product", others={})}
    found = verdicts(results_of(theirs(), one(), one("fast-float32", total_s=3.0), peaks=peaks))
    assert found["`paper` in float32 against nnU-Net, `sample`: total"] == ("40 times", "met")
    assert found["`paper` in bfloat16 against nnU-Net, `sample`: total"] == ("–", "not measured")
    assert found["`fast` against `paper` in float32, `sample`: the network"] == ("3.33 times", "**missed**")
    assert found["`paper` in float32, `sample`: the encoder, of the product's peak"] == ("50%", "**missed**")
    assert found["`paper` in float32, `sample`: all but the network, of the total"] == ("10.0%", "met")
    assert found["`fast` in float32, `sample`: all but the network"] == ("0.30 s", "met")


def test_memory_is_that_of_the_largest_of_ours_in_a_precision():
    measured = [
        one(scan="x600", peak_mib=3000), one("fast-float32", "x600", peak_mib=2000),
        one("paper-modules", "x600", peak_mib=9000), theirs("x600", peak_mib=12000),
    ]  # fmt: skip
    found = verdicts(results_of(*measured))
    assert found["ours in float32, `x600`: peak memory"] == ("3.15 GB", "met")
    assert found["ours in float32 against nnU-Net, `x600`: peak memory"] == ("25.0%", "met")
    assert found["ours in bfloat16, `x600`: peak memory"] == ("–", "not measured")


def test_every_patch_computed_counts_before_a_few():
    whole = theirs(total_s=150.0, computed=48, contender="nnunet-whole")
    found = verdicts(results_of(theirs(), whole, one()))
    assert found["`paper` in float32 against nnU-Net, `sample`: total"] == ("15 times", "**missed**")


def test_a_gpu_has_goals_of_its_own():
    gpu = msgspec.structs.replace(ABOUT, device="cuda:0")
    slow = one("fast-bfloat16", "sample-nii", total_s=2.0, gpu_mib=7000.0)
    found = verdicts(
        results_of(slow, one("fast-bfloat16", "sample-dicom", total_s=0.5, gpu_mib=500.0), about=gpu)
    )
    assert found["`fast-bfloat16`, `sample-nii`: files written"] == ("2.00 s", "**missed**")
    assert found["`fast-bfloat16`, `sample-nii`: GPU memory"] == ("7.34 GB", "**missed**")
    assert found["`fast-bfloat16`, `sample-dicom`: files written"] == ("0.50 s", "met")


def test_the_page_tells_what_was_measured_from_what_was_calculated():
    whole = theirs(total_s=420.0, computed=48, contender="nnunet-whole")
    text = "\n".join(page(results_of(theirs(), whole, one()), picture="inference.svg"))
    assert "load average before 0.1, after 0.2" in text
    assert (
        "| `sample` | paper, float32 | 10.00 | 12.00 | 1.00 | – | 4.00 | – | 5.00 | – | – | 1049 | 8.0 |"
        in text
    )
    assert (
        "| `sample` | nnU-Net | *400* | 1.0 | 4.0 | *390* | 5.0 | *3130* | 48 | 6 | 8.00 | 131 | 1049 |"
        in text
    )
    assert "| `sample` | nnU-Net, every patch | 420 | 1.0 | 4.0 | 410 | 5.0 | *3290* | 48 | 48 |" in text
    assert "is -4.8% away from what all of" in text
    assert "(inference.svg)" in text
    assert "Not every organ" not in text


def test_an_organ_without_contour_is_told():
    assert "fast, float32 on `x178` found heart." in "\n".join(
        page(results_of(one("fast-float32", "x178", found=["heart"])), picture=None)
    )


def test_the_figure_is_the_same_for_the_same_numbers_and_small():
    sizes = {
        "sample": (133, 512, 512),
        "x178": (178, 512, 512),
        "x300": (300, 512, 512),
        "x600": (600, 512, 512),
    }
    measured = [
        one(f"{model}-{precision}", scan, total_s=seconds, shape_zyx=shape)
        for model, seconds in (("paper", 10.0), ("fast", 2.0))
        for precision in ("float32", "bfloat16")
        for scan, shape in sizes.items()
    ]
    drawn = figure(results_of(*measured, theirs()))
    assert drawn == figure(results_of(*measured, theirs()))
    assert drawn != figure(results_of(*measured[:-1], theirs()))
    assert len(drawn) < 60_000
    assert b"paper, bfloat16" in drawn
