from rich.console import Console

from simulations.findings_table import findings_table


def test_every_finding_is_a_row_with_what_was_predicted_beside_what_came_out() -> None:
    findings = {
        "gain": {"predicted": 2, "found": {"PCA": {"mean": 1.0, "low": 0.5, "high": 1.5, "n": 4}}},
        "holds": True,
    }
    console = Console(width=100)
    with console.capture() as capture:
        console.print(findings_table(findings))
    text = capture.get()
    row = next(line for line in text.splitlines() if "gain" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["gain", "2", "PCA: 1 [0.5, 1.5]"]
    assert "yes" in next(line for line in text.splitlines() if "holds" in line)


def test_a_finding_called_predicted_alone_is_no_prediction() -> None:
    table = findings_table({"gain": {"predicted": 2}})
    assert list(table.columns[1].cells) == [""]
    assert list(table.columns[2].cells) == ["predicted: 2"]
