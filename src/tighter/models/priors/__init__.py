"""Prior families p(z), a file each, and the table of their names."""
