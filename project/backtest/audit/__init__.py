"""Whether definitions keep what they promise: no look-ahead, and a look-back that is long enough."""
