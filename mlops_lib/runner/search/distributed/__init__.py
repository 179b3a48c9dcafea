"""One search by several workers: a chief dispatches trials over gRPC."""
