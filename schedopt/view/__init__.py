"""What people look at: figures, reports, the dashboard."""

from schedopt.errors import require

require("plotly", "figures, reports and the dashboard need", "report")
