from thoar.datasets.findings import CheckReport, OrganCount, finding
from thoar.reports.findings_page import findings_page


def report(*findings, cases=("Patient_01", "Patient 02")):
    organs = {"heart": OrganCount(drawn=1, empty=1), "aorta": OrganCount(absent=2)}
    return CheckReport(thoar="0.1.0", cases=cases, organs=organs, findings=findings)


def test_every_finding_stands_with_its_remedy_and_leads_to_its_picture(sound_page):
    found = report(
        finding("empty_organ", "Patient 02", organ="heart", found="no voxel & <b>", remedy="restore it"),
        finding("absent_often", organ="aorta", found="in 2 of 2 cases", remedy="look"),
    )
    html = findings_page(
        found, pictures={"Patient 02": "pictures/Patient 02.png", "Patient_01": "pictures/a.png"}
    )
    seen = sound_page(html)
    assert "error: Cases: 2, errors: 1, warnings: 1" in seen
    assert "error Patient 02 heart no voxel & <b> restore it" in seen
    assert "warning whole data set aorta in 2 of 2 cases look" in seen
    assert 'src="./pictures/Patient%2002.png"' in html
    assert html.index("Patient%2002.png") < html.index("pictures/a.png")
    assert "heart 1 1 0 0" in seen


def test_a_sound_data_set_is_said_to_be_one(sound_page):
    seen = sound_page(findings_page(report(), pictures={}))
    assert "Nothing was found to be wrong" in seen
    assert "2 cases have no picture" in seen
