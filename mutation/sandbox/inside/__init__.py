"""The code that runs inside the sandbox. It may only use the standard library: nothing else is there."""
