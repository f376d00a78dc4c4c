import pytest

from thoar.reports.page import (
    Section,
    facts,
    folded,
    gallery,
    link,
    listing,
    notice,
    page,
    paragraph,
    picture,
    place,
    table,
    verbatim,
)

NASTY = "</style><script>alert('1')</script>&amp; \"x\""


def test_text_stays_text_wherever_it_stands(sound_page):
    blocks = (
        paragraph(NASTY),
        notice(NASTY, "error"),
        table([NASTY, NASTY], [[NASTY, link(NASTY, "a.html")]], caption=NASTY),
        facts([(NASTY, NASTY)]),
        listing([NASTY]),
        verbatim(NASTY),
        folded(NASTY, [paragraph(NASTY)]),
        picture("a.png", NASTY, title=NASTY),
    )
    html = page(NASTY, [Section(title=NASTY, blocks=blocks)], opening=[paragraph(NASTY)])
    seen = sound_page(html)
    assert seen.count(NASTY) == 18
    assert "<script" not in html


@pytest.mark.parametrize(
    "target",
    ["https://example.org/a.png", "//example.org/a.png", "javascript:alert(1)", 'a" onerror="b', "/etc/x"],
)
def test_an_address_can_only_lie_beside_the_page(target, sound_page):
    html = page("p", [Section(title="s", blocks=(picture(target, "c"), link("l", target)))])
    sound_page(html.replace("https%3A", ""))
    assert 'src="./' in html
    assert 'href="./' in html
    assert "onerror=" not in html


def test_a_link_leads_to_the_place_of_its_name(sound_page):
    name = 'Patient 1 "ä" <b>'
    block = gallery([place(name, paragraph("here")), link("there", f"#{name}")])
    sound_page(page("p", [Section(title="s", blocks=(block,))]))


def test_a_picture_of_bytes_is_in_the_page_itself(sound_page):
    html = page("p", [Section(title="s", blocks=(picture(b"\x89PNG", "c"),))])
    sound_page(html)
    assert "data:image/png;base64,iVBORw==" in html


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises(ValueError, match="zip"):
        table(["a", "b"], [["1", "2", "3"]])


def test_only_long_pages_have_a_table_of_contents():
    section = Section(title="s", blocks=())
    assert "<nav>" not in page("p", [section] * 2)
    assert page("p", [section] * 3).count('<a href="#section-') == 3
