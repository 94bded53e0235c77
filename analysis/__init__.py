"""Tables, figures, a live view and a check of the paper's claims, from the results file of a sweep."""
