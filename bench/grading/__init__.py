"""Grading: extracts the final answer from a text, and decides whether two answers are equal."""
