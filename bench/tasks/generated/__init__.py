"""The generators of the built-in tasks: problems with exact references and checkers."""
