"""The figure of a comparison shows all of its texts."""

import dataclasses
from pathlib import Path

import pytest

from tests.compare.test_conclusion import DESIGN, method
from videopool.compare import figure as figures

FigureCanvasAgg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg
LONG = "package.models.vgg, channels [16, 32, 64, 128], convs [1, 2, 2, 2], $x_1$"


@pytest.mark.parametrize("network", ["c3d", LONG])
def test_texts_are_inside(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, *_, **__: drawn.append(figure) or [])
    names = ["soft", "a method with a longer name, in $"]
    design = dataclasses.replace(DESIGN, network=network, done=20)
    figures.draw(tmp_path / "figure", [method(name, 0.7 + 0.1 * number) for number, name in enumerate(names)], design)
    (figure,) = drawn
    canvas, frame = FigureCanvasAgg(figure), figure.bbox
    canvas.draw()
    (axes,) = figure.axes
    texts = [*figure.texts, *axes.get_yticklabels(), axes.title, axes.xaxis.label]
    assert len(texts) == 2 + len(names) + 2
    for text in texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, text
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, text
    drawn_text = " ".join(" ".join(text.get_text() for text in texts).split())
    assert network.replace("$", r"\$") in drawn_text  # the escaped signs do not begin a formula
