"""From a configuration to a run to its record."""
