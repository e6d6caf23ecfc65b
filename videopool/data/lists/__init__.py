"""Lists of videos and their labels: all formats, and manifests. ``records`` reads them."""
