"""Hessian products of the one loss, and what Lanczos finds with them."""
