"""What every room shares: errors, names, records, keys, random streams and the tensor-carrying seams."""
