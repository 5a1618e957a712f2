"""What a bound hides, and which bound and estimator to take: measurements on the user's own model."""
