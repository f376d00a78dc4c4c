import numpy as np
import pytest

from thoar.reports.page import Section, page
from thoar.reports.plots import Dots, Line, curves, dots

EPOCHS = np.arange(4.0)


def drawn(description="a plot", **changes):
    line = Line(**{"name": "heart", "x": EPOCHS, "y": np.array([1.0, 0.5, np.nan, np.inf]), **changes})
    return curves(description, [line], x_name="epoch", y_name="loss", marks={1.0: "joint stage"})


def test_the_same_numbers_give_the_same_drawing():
    assert drawn() == drawn()
    assert drawn(y=EPOCHS) != drawn()


def test_two_drawings_on_one_page_do_not_disturb_each_other(sound_page):
    blocks = (drawn("one"), drawn("two"), dots("three", [Dots(name="a", values=EPOCHS)], y_name="Dice"))
    html = page("p", [Section(title="s", blocks=blocks)])
    assert "joint stage" in sound_page(html)
    assert html.count("<style") == 1


def test_names_and_descriptions_are_escaped(sound_page):
    nasty = '"><script>$x_1$</script>'
    group = Dots(name=nasty, values=EPOCHS)
    blocks = (drawn(nasty, name=nasty), dots(f"2{nasty}", [group], y_name=nasty))
    seen = sound_page(page("p", [Section(title="s", blocks=blocks)]))
    assert seen.count(nasty) == 3


@pytest.mark.parametrize("values", [[], [np.nan], [0.5], [np.inf, 0.5, 0.5]])
def test_any_number_of_values_makes_dots(values):
    assert "<svg" in dots("d", [Dots(name="heart", values=np.array(values))], y_name="Dice")


@pytest.mark.parametrize("values", [[], [np.nan], [0.5]])
def test_any_number_of_points_makes_a_curve(values):
    assert "<svg" in drawn(x=np.arange(len(values), dtype=float), y=np.array(values))


def test_pale_colours_are_darkened_for_paper():
    assert "#ffff00" not in drawn(color_rgb=(255, 255, 0))
    assert "#b060ff" in drawn(color_rgb=(176, 96, 255))
