"""Programs and trainables that the sample manifests run; each is also a starting point for one's own."""
