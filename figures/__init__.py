"""Pictures and tables of runs, reports and simulations, drawn from their files alone; one file per picture or table."""
