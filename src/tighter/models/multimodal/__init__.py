"""Models of several modalities: the joint posteriors, and the looser bound of their experts."""
