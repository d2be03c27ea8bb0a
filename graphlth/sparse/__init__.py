"""The masked message-passing kernel: graphs, sums over their edges, dropout, and the backends."""
