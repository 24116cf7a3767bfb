"""Measurements and recipes, each one command."""
