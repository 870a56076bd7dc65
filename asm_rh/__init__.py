"""ASM-RH: live, explainable audio classification with mixer models (arXiv 2402.18007)."""

__version__ = "0.1.0"
