"""The YAML under `spec/`: read, checked as a whole, frozen."""
