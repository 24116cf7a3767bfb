"""Grading: finding the final answer in a text, and deciding whether two answers are equal."""
