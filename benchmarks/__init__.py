"""Measuring scripts; every figure of the README comes from the JSON files in results/."""
