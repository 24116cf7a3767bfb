"""A search behind OpenAI's API. Imports nothing of the web frameworks itself."""
