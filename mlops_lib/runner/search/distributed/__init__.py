"""One search by several workers: a coordinator hands out trials over gRPC."""
