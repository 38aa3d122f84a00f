"""Pictures and tables of one report of the diagnostics: ``draw(report)`` or ``tabulate(report)``."""
