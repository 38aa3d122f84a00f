"""What each diagnostic says, in words and tables: one file per diagnostic."""
