"""Runs on a Ray cluster: actors that each hold a policy and a reward model, and a driver that records."""
