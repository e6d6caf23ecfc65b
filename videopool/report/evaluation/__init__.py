"""A page about an evaluation: ``report.html``, one file with all tables, charts and film strips."""
