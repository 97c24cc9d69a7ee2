"""Finds a mistake in its input."""
import sys

print("checking the input ...")
print("row 17 has 63 columns, should have 64", file=sys.stderr)
sys.exit(3)
