from thoar.evaluation.evaluate import evaluate
from thoar.evaluation.table import COLUMNS, PAPER_LABEL, table_rows


def test_each_organs_means_are_followed_by_the_papers_row(world, ground_truth):
    world.reference("p1")
    world.reference("p2")
    world.predict("p1")
    world.predict("p2", ground_truth)
    rows = table_rows(evaluate(world.predictions, world.references))
    assert [row.label for row in rows[:4]] == ["esophagus", PAPER_LABEL, "heart", PAPER_LABEL]
    assert rows[0].n == 2
    assert set(rows[0].values) == set(COLUMNS)
    assert rows[0].values["dice"] == (0.8 + 1.0) / 2
    assert rows[1].values == {"dice": 0.7732, "average_hausdorff_mm": 1.6774}
