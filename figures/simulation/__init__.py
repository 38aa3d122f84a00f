"""Pictures of the experiments on the theory, one each under its name: ``draw(result)``."""
