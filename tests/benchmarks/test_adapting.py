import adapting
import msgspec
from adapting import ARMS, MODEL, Run, page, training
from costs import Cost

CODE = {"commit": "abc", "changed": "no", "phantoms_sha256": "1234", "torch": "2", "date": "2026-01-02"}


def run_of(arm, seed, value):
    return Run(
        arm=arm, seed=seed, train=Cost(wall_s=590.0, cpu_s=300.0, peak_mib=900.0) if ARMS[arm] else None,
        dice={"heart": value, "aorta": value - 0.2}, hausdorff95_mm={"heart": None, "aorta": 4.0},
        missed={"heart": 1, "aorta": 0}, code=CODE,
    )  # fmt: skip


def test_every_arm_learns_from_the_same_cases_and_seed(tmp_path):
    trained = {arm: training(tmp_path, arm, tmp_path / "run", seed=4) for arm in ARMS if ARMS[arm]}
    common = [words[len(ARMS[arm]) :] for arm, words in trained.items()]
    assert common[0] == common[1]
    assert common[0][common[0].index("--seed") + 1] == 4
    assert [arm for arm, words in trained.items() if MODEL in words] == ["adapted"]


def test_the_page_sets_every_seed_beside_the_untouched_model():
    runs = [run_of("untouched", 0, 0.6), run_of("adapted", 0, 0.7), run_of("adapted", 1, 0.9)]
    text = "\n".join(page(runs, CODE))
    assert "| untouched | 1 | 0.600 | 0.400 | 0.500 | 1 | – |" in text
    assert "| adapted | 2 | 0.800 ± 0.141 | 0.600 ± 0.141 | 0.700 ± 0.141 | 2 | 5.0 ± 0.0 |" in text
    assert "| adapted | ∞ in 2 | 4.0 ± 0.0 |" in text
    assert "| 1 | 0.500 | 0.800 | – |" in text
    assert f"`thoar train adapt --from {MODEL} …`" in text


def test_a_run_that_came_to_its_end_is_kept(tmp_path):
    run = run_of("from scratch", 2, 0.5)
    place = adapting.place_of(tmp_path, "from scratch", 2)
    place.mkdir(parents=True)
    (place / "result.json").write_bytes(msgspec.json.encode(run))
    assert adapting.finished(tmp_path, "from scratch", 2) == run
    assert adapting.finished(tmp_path, "from scratch", 1) is None
