"""Where jobs run: one launcher per file, all behind the interface of :mod:`training.launch.job`."""
