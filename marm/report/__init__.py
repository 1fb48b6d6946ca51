"""Pages and tables about runs."""

from marm.report.compare import write_comparison_report
from marm.report.run import write_report
from marm.report.table import comparison, result_row

__all__ = ["comparison", "result_row", "write_comparison_report", "write_report"]
