"""Pictures in, labels and boxes out: what surrounds a network that looks at pictures."""
