"""Pictures and tables of one run: ``draw(run)`` or ``tabulate(run)``."""
