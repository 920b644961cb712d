"""The notebooks, executed in a checkout whose lake a run has filled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkouts import PROJECT, python

NOTEBOOKS = sorted(path.name for path in (PROJECT / "notebooks").glob("*.ipynb"))
OF_MACHINES = {"04_machines.ipynb"}
PICTURES = {"03_the_model.ipynb": 3, "04_machines.ipynb": 1}
# In the copy's own environment, so that the kernel's code is the copy's; the kernel's folder is notebooks/, as usual.
EXECUTE = """
import json

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read("notebooks/{name}", as_version=4)
NotebookClient(notebook, timeout=300, resources={{"metadata": {{"path": "notebooks"}}}}).execute()
cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
print(json.dumps([[cell.source, [dict(output) for output in cell.outputs]] for cell in cells]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom_and_every_cell_shows_something(
    name: str, lived: Path, request: pytest.FixtureRequest
) -> None:
    if name in OF_MACHINES:
        request.getfixturevalue("plant")
    cells = json.loads(python(EXECUTE.format(name=name), lived).splitlines()[-1])
    assert len(cells) >= 5
    for source, outputs in cells:
        kinds = {kind for output in outputs for kind in output.get("data", {})}
        imports_only = "import" in source and not kinds
        assert imports_only or kinds & {"text/html", "text/plain", "image/svg+xml"}, f"{source} shows nothing"
        assert [output for output in outputs if output["output_type"] in ("error", "stream")
                and output.get("name") != "stdout"] == [], f"{source} says what nobody asked for"  # fmt: skip
    assert sum("image/svg+xml" in str(outputs) for _, outputs in cells) == PICTURES.get(name, 0)
