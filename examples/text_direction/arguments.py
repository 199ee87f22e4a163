"""Kinds of command-line arguments of the programs that render data."""

import argparse


def positive(text):
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value
