"""Pictures and tables of several runs together: ``draw(runs)`` or ``tabulate(runs)``."""
