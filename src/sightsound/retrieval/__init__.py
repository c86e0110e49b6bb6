"""Sound finds pictures and pictures find sound: embeddings, scores, an index, search."""
