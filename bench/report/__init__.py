"""What a run came to: statistics, summaries, tables."""
