"""videopool: 3D-CNN video classifiers with native SoftPool kernels. Start at README.md and docs/design.md."""

__version__ = "0.1.0"
