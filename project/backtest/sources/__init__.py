"""Where raw data comes from: venue archive and API, files, a simulated market."""
