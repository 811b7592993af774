"""The line that says what is waited for."""

from __future__ import annotations

import os
import sys

import pytest

from mpidask.status_line import StatusLine

pytestmark = pytest.mark.one_mpi


def test_a_line_for_each_change(capsys):
    line = StatusLine(enabled=True)
    for text in ("pending", "pending", "running"):
        line.show(text)
    line.clear()
    StatusLine(enabled=False).show("nothing")
    StatusLine(after=60).show("not yet")
    for left in "321":
        line.show(f"4 workers up, {left} s left", in_logs="4 workers up")
    assert capsys.readouterr().err == "mpidask: pending\nmpidask: running\nmpidask: 4 workers up\n"


def test_a_terminal_has_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 5)))
    line = StatusLine()
    for text in ("pending", "waiting for a node that is there"):
        line.show(text)
    line.clear()
    assert capsys.readouterr().err == "\r\x1b[Kmpidask: pending\r\x1b[Kmpidask: waiting fo\r\x1b[K"


NOTEBOOK = """
from mpidask.status_line import StatusLine, report
line = StatusLine()
for text in ("pending", "running"):
    line.show(text)
report("job 1 is submitted")
"""


def test_a_notebook_has_one_output_that_changes_and_no_red_box(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(code) for code in (NOTEBOOK, "line.clear()")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")
    kernel = client.create_kernel_manager()
    kernel.transport, kernel.ip = "ipc", f"{tmp_path}/s"  # no ports: another program may take them before the kernel
    client.execute()
    shown, said = notebook.cells[0].outputs
    assert (shown.output_type, shown.data) == ("display_data", {"text/plain": ""}), "cleared by the second cell"
    assert (said.name, said.text) == ("stdout", "mpidask: job 1 is submitted\n")
    assert not notebook.cells[1].outputs
