from marm.report import comparison, result_row


def test_seeds_of_a_label_become_mean_and_deviation():
    rows = [
        {"label": "MARM", "seed": 0, "click GAUC": 0.70, "events/s": 4000},
        {"label": "one layer", "seed": 0, "click GAUC": 0.65},
        {"label": "MARM", "seed": 1, "click GAUC": 0.72, "events/s": 5000},
    ]
    assert comparison(rows) == (
        "|           | runs |      click GAUC |    events/s |\n"
        "| :-------- | ---: | --------------: | ----------: |\n"
        "| MARM      |    2 | 0.7100 ± 0.0141 | 4,500 ± 707 |\n"
        "| one layer |    1 |          0.6500 |           – |\n"
    )


def test_undefined_figures_are_left_out_of_the_mean():
    rows = [{"label": "a", "auc": 0.5}, {"label": "a", "auc": None}, {"label": "a", "auc": float("nan")}]
    assert "|    3 | 0.5000 |" in comparison(rows)


def test_a_bar_in_a_label_does_not_end_its_cell():
    assert "a\\|b" in comparison([{"label": "a|b", "auc": 0.5}])


def test_no_rows_are_no_table():
    assert comparison([]) == ""


def test_a_row_of_a_result_holds_the_figures_of_its_tasks():
    result = {
        "seed": 3,
        "events_per_s": 10.0,
        "segments": {"counts": [6, 3, 0, 1]},
        "tasks": {"click": {"gauc": 0.6, "positives": 5, "logloss": 0.4}, "watch": {"rmse": 2.0}, "like": None},
    }
    assert result_row("x", result) == {
        "label": "x",
        "seed": 3,
        "click GAUC": 0.6,
        "click log loss": 0.4,
        "watch RMSE": 2.0,
        "events a segment": 1.6,
        "events/s": 10.0,
    }
    only = result_row("x", {"tasks": result["tasks"]}, ["gauc"])
    assert only == {"label": "x", "click GAUC": 0.6}
