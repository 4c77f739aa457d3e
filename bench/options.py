"""The options that all benchmarks share."""

from __future__ import annotations

import argparse


def options(doc: str | None, repeats: int = 5, quick_repeats: int = 1) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="small data, few repeats: does it run, and roughly how fast"
    )
    parser.add_argument("--repeats", type=int, help=f"rounds; default {repeats}, quick {quick_repeats}")
    given = parser.parse_args()
    given.repeats = given.repeats or (quick_repeats if given.quick else repeats)
    return given
