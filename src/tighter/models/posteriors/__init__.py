"""Posterior families q(z|x), a file each, and the table of their names."""
