"""What README.md says of the code, held against the code."""

from pathlib import Path

import pytest

from nets.layers import __main__ as command
from nets.layers import table
from protos.errors import CaffeError

README = Path(__file__).parents[1] / "README.md"


def test_the_table_of_layers_is_fresh():
    text = README.read_text(encoding="utf-8")
    assert text == table.replaced(text), "stale: python -m nets.layers --write README.md"


def test_the_command_prints_the_table_or_writes_it(tmp_path, capsys):
    command.main([])
    assert capsys.readouterr().out == table.markdown() + "\n"
    page = tmp_path / "page.md"
    page.write_text(f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    command.main(["--write", str(page)])
    assert page.read_text() == f"above\n{table.BEGIN}\n{table.markdown()}\n{table.END}\nbelow\n"


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    with pytest.raises(CaffeError, match="there are no markers <!-- layers --> and <!-- /layers -->"):
        command.main(["--write", str(page)])
    assert page.read_text() == "nothing here"
