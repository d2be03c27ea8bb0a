"""The report: recorded runs as one page of HTML that fetches nothing."""
