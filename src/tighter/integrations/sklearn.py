"""The estimators of scikit-learn's interface."""

from tighter.integrations.sklearn_autoencoder import VariationalAutoencoder
from tighter.integrations.sklearn_topics import TopicModel

__all__ = ["TopicModel", "VariationalAutoencoder"]
