"""Measuring and calibrating reward models."""
