"""Models to cut: trained ones from installable packages, and published architectures with seeded weights."""
