"""The page "Ranks" of the scheduler's dashboard: a table that is kept up to date.

Importing this imports bokeh, which takes long: only the thread that loads the dashboard does so. `register` comes
before `distributed.dashboard.scheduler.connect`, which a Scheduler with `dashboard=True` calls when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models.callbacks import CustomJS
from bokeh.models.layouts import LayoutDOM
from bokeh.models.sources import ColumnDataSource
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.tables import (
    CellFormatter,
    DataTable,
    HTMLTemplateFormatter,
    NumberFormatter,
    TableColumn,
)
from distributed import Scheduler
from distributed.dashboard import scheduler as pages
from distributed.dashboard.components.scheduler import BOKEH_THEME, env

from mpidask.dashboard.table import HEADINGS, SOURCE, Source, columns, summary

__all__ = ["register"]

_NAME = "ranks"  # the page's address, and in the navigation bar its title
_PERIOD = 1000  # ms between two looks
_NOTHING = "This scheduler has no ranks or jobs of mpidask."

#: Field -> width in pixels, before the table is stretched to the page's.
_WIDTHS = {"node": 110, "role": 100, "memory": 125, "memory_limit": 75, "message": 420}
_WIDTH = 65

#: How cells are written, as Underscore's templates; <%- escapes. Fields that are not here are numbers.
_TEXT = "<%- {} %>"
_AMOUNT = '<div style="text-align: right"><%- {} %></div>'
_TEMPLATES = {
    "place": _TEXT.format("place_text"),
    "node": _TEXT.format("node_text"),
    "role": _TEXT.format("value"),
    "worker": _TEXT.format("worker_text"),
    "pid": _TEXT.format("value"),
    "state": '<span class="state-<%- value %>"><%- value %></span>',
    "memory": _AMOUNT.format("memory_text"),
    "memory_limit": _AMOUNT.format("memory_limit_text"),
    "message": '<span title="<%- value %>"><%- value %></span>',  # long ones are cut off
}

_STYLE = """
.bk-data-table { z-index: 0; font-size: 13px; }
.slick-header-column { font-weight: bold; }
.state-paused { color: #a65e00; font-weight: bold; }
.state-dead, .state-failed { color: #c00000; font-weight: bold; }
.state-starting, .state-closing, .state-gone, .state-pending, .state-held { color: #707070; font-style: italic; }
"""


def register() -> None:
    """Add the page to all scheduler dashboards that are connected in this process from now on."""
    if f"/{_NAME}" in pages.applications:
        return
    pages.applications[f"/{_NAME}"] = _fill
    variables = pages.template_variables  # which Dask's `connect` looks up by its name

    def with_page(scheduler: Scheduler) -> dict[str, Any]:
        found: dict[str, Any] = variables(scheduler)  # remembered: one for each scheduler
        if _NAME not in found["pages"]:
            found["pages"].insert(1, _NAME)  # after Status
        return found

    pages.template_variables = with_page


def _fill(scheduler: Scheduler, extra: Mapping[str, Any], doc: Document) -> None:
    """Make the page for one browser."""
    source: Any = scheduler.plugins.get(SOURCE)
    root = Div(text=_NOTHING) if source is None else _table(source, doc)
    doc.title = "Dask: Ranks"
    doc.add_root(root)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


def _table(source: Source, doc: Document) -> LayoutDOM:
    """Return the table and the line above it, which from now on are kept up to date."""
    data = ColumnDataSource(columns(()))
    above = Div(sizing_mode="stretch_width", styles={"font-size": "15px", "padding": "6px 4px"})

    def update() -> None:
        rows = source.rows()
        above.text = summary(rows, source.heading)
        table = columns(rows)
        if table != data.data:  # what is sent anew is drawn anew
            data.data = table

    update()
    doc.add_periodic_callback(update, _PERIOD)
    table = DataTable(
        source=data,
        columns=[_column(field, source.heading) for field in HEADINGS],
        index_position=None,
        sizing_mode="stretch_both",
        stylesheets=[_STYLE],
    )
    # Bokeh (3.9) does not draw a table anew whose number of rows is the same.
    data.js_on_change("data", CustomJS(args={"view": table.view}, code="view.change.emit()"))
    return column(above, table, sizing_mode="stretch_both")


def _column(field: str, place: str) -> TableColumn:
    formatter: CellFormatter
    if field in _TEMPLATES:
        formatter = HTMLTemplateFormatter(template=_TEMPLATES[field])
    else:
        formatter = NumberFormatter(format="0", text_align="right", null_format="")
    title = place.capitalize() if field == "place" else HEADINGS[field]
    return TableColumn(field=field, title=title, width=_WIDTHS.get(field, _WIDTH), formatter=formatter)
