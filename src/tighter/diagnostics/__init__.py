"""What a bound hides, and which bound and estimator to take: measured on the user's model."""
