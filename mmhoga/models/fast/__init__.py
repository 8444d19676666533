"""Code that exists for speed alone; a test compares each part with the plain form that defines it."""
