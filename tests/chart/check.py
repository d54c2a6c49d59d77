"""Checks rendered manifests: against Kubernetes' own schemas, against PodSecurity "restricted", and that their parts fit.

    check.py MANIFEST...

Called by tests/chart.sh. Ends with 1 and one line for each thing that is wrong.
"""

import pathlib
import sys

import yaml

import custom_kinds
import pod_security
import schemas
import wiring


def main() -> int:
    problems = [f"the check itself: {problem}" for problem in pod_security.misses()]
    for name in sys.argv[1:]:
        text = pathlib.Path(name).read_text()
        documents = [document for document in yaml.safe_load_all(text) if document]
        found = [
            *schemas.problems(documents),
            *custom_kinds.problems(documents),
            *pod_security.problems(documents),
            *wiring.problems(documents),
        ]
        label = pathlib.Path(name).stem
        problems += [f"{label}: {problem}" for problem in found]
        print(f"{label}: {len(documents)} documents, Kubernetes {schemas.OLDEST} to {schemas.NEWEST}")
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
