"""The processes of a run: how they start, meet, are checked, watched and stopped."""
