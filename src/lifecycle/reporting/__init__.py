"""One HTML file of the results of the other stages."""

from lifecycle.reporting.html_report import BeforeAfter, Measurement, Table, report

__all__ = ["BeforeAfter", "Measurement", "Table", "report"]
