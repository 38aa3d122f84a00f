"""What a run, or several, end with: tables, their doubts, their costs."""
