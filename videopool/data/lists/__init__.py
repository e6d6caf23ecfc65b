"""Which videos there are and what they show: lists of every format, and manifests; ``records`` reads all of them."""
