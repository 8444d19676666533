"""Code that exists only for speed; tests compare each part with its plain definition."""
