"""How good results are: of a search on worlds whose truth is known."""
