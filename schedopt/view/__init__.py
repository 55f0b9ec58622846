"""What people look at: charts, reports, the dashboard."""
