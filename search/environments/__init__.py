"""Episodes of several turns: a policy sends whole messages, and an environment answers each of them."""
