"""State that a search saves, so that a resumed run ends exactly where an uninterrupted one does."""
