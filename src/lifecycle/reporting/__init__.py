"""One HTML file of the results of the other stages."""

from lifecycle.reporting.html_report import BeforeAfter, Table, report

__all__ = ["BeforeAfter", "Table", "report"]
