"""Write the tables of README.md anew from the results: `python -m benchmarks.tables`.

A table stands between `<!-- result: NAME -->` and `<!-- end -->`; NAME is that of a file in `results/`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from benchmarks._harness import RESULTS, table

README = Path(__file__).parent / "README.md"

PLACE = re.compile(r"(<!-- result: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(text: str) -> str:
    """`text` with every table as its result file says."""

    def fill(place: re.Match[str]) -> str:
        head, name, end = place.groups()
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        machine = result["machine"]
        where = machine["gpu"] or f"{machine['cores']} cores of {machine['cpu']}"
        caption = f"`{result['command']}`; {where}, torch {result['versions']['torch']}, {result['date'][:10]}"
        return f"{head}\n{caption}\n\n{table(result['rows'])}\n\n{end}"

    return PLACE.sub(fill, text)


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    README.write_text(generated(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
