"""Statistics, summaries and tables of results."""
