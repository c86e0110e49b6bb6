"""Audio-visual retrieval: embeddings, an index on disk, search, recall."""
