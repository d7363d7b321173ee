"""One HTML file of the results of the other stages."""

from lifecycle.reporting.html_report import Table, report

__all__ = ["Table", "report"]
