from diagnostics.report.sections.losses import section
from tests.diagnostics.report.measured import around, losses


def test_the_meaning_says_what_the_intervals_allow() -> None:
    assert section(losses()).meaning == (
        "The merged model's loss is 0.100 [0.090, 0.110] lower than the average of its branches, and 0.200 [0.190, "
        "0.210] lower than that of the start."
    )
    unsure = section(losses(gain=around(0.001))).meaning
    assert "not separated from the average of its branches (−0.001 [−0.011, +0.009])" in unsure


def test_tables_hold_every_model_and_task() -> None:
    result = losses()
    models, levels, differences = section(result).tables
    assert [row[0] for row in models.rows] == [*(entry.model for entry in result.models), "branch average"]
    by_name = {row[0]: row for row in models.rows}
    assert by_name["merged"][1:3] == ("1.500 [1.450, 1.550]", "–")
    assert by_name["branch average"][1:3] == ("1.600 [1.550, 1.650]", "−0.100 [−0.110, −0.090]")
    assert by_name["joint"][1:3] == ("1.200 [1.150, 1.250]", "+0.300 [+0.290, +0.310]")
    assert [row[0] for row in levels.rows] == [row[0] for row in differences.rows] == list(result.tasks)
    assert differences.head == ("task", "minus branch average", "minus start", "minus joint", "minus joint-equal-steps")
    assert differences.rows[0][1] == "+0.050 [+0.030, +0.070]"
    assert all(len(row) == len(table.head) for table in (models, levels, differences) for row in table.rows)


def test_without_joint_training_its_columns_are_left_out() -> None:
    *_, levels, differences = section(losses(joint=False)).tables
    assert not any("joint" in cell for table in (levels, differences) for cell in table.head)


def test_the_picture_in_words_names_what_the_intervals_separate() -> None:
    alt = section(losses()).pictures[1].alt
    assert "lowers the loss in coin_flip and raises it in gcd" in alt
