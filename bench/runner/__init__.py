"""From a request to results: what the command lines, experiments and servers share."""
