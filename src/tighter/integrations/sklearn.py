"""The estimators of scikit-learn's interface."""

from tighter._extras import check_installed

check_installed("sklearn")

from tighter.integrations.sklearn_autoencoder import VariationalAutoencoder  # noqa: E402
from tighter.integrations.sklearn_topics import TopicModel  # noqa: E402

__all__ = ["TopicModel", "VariationalAutoencoder"]
