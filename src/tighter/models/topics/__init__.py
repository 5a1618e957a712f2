"""Topic models of documents as counts of words: mixtures of topics, and products of experts."""
