"""What a notebook shows."""

from html.parser import HTMLParser

from profiler import load_run
from profiler.reporting.notebook import fit_html
from tests.support.runs import write_run


class Text(HTMLParser):
    """Collects text and tags."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_a_run_shows_its_numbers_and_what_lower_losses_cost(tmp_path):
    shown = Text(load_run(write_run(tmp_path / "run"))._repr_html_())
    assert shown.text[:1] == ["scripted"]
    assert {"41 kJ", "Floor", "1 % lower", "more time", "Completed after 102 s, measured"} <= set(shown.text)


def test_a_fit_shows_where_its_curve_stands(tmp_path):
    shown = Text(fit_html(load_run(write_run(tmp_path / "run")).fit()))
    assert {"Floor", "1 % lower", "loss improving"} <= set(shown.text)
    assert "more time" not in shown.text


def test_a_fit_carries_the_name_of_its_metric(tmp_path):
    scores = [(step, "val_acc", 1.0 - 0.8 * step**-0.4) for step in range(5, 401, 5)]
    run = load_run(write_run(tmp_path / "run", metrics=scores))
    shown = Text(fit_html(run.fit("val_acc", goal="max", best=1.0)))
    assert shown.text[0] == "val_acc against energy"
    assert "val_acc improving" in shown.text
    assert not any("loss" in text for text in shown.text)


def test_a_run_without_a_curve_says_why(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=3, meta={"name": "<script>alert(1)</script>"}))
    shown = Text(run._repr_html_())
    assert "script" not in shown.tags
    assert "<script>alert(1)</script>" in shown.text
    assert any("Too early to advise" in text for text in shown.text)


def test_a_run_has_one_figure_and_no_raw_representation(tmp_path):
    shown = load_run(write_run(tmp_path / "run"))._repr_html_()
    assert shown.count("<svg") == 1
    assert "Interval(" not in shown
    assert "Forecast(" not in shown


def test_a_fit_without_a_trend_shows_its_state(tmp_path):
    run = load_run(write_run(tmp_path / "run", loss=lambda step: 2.0 if step < 200 else float("nan")))
    shown = Text(fit_html(run.fit()))
    assert "loss DIVERGED after step 199" in shown.text
    assert "table" not in shown.tags
