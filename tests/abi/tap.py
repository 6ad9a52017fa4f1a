# SPDX-License-Identifier: MIT
"""The TAP side of the checks in this folder: a case is a list of findings."""
import os
import sys


class Tap:
    def __init__(self):
        self.cases = []

    def case(self, name, findings):
        """@findings: what is wrong, a sentence each. None of them: passed."""
        self.cases.append((name, list(findings), None))

    def skip(self, name, reason):
        self.cases.append((name, [], reason))

    def end(self):
        """Print everything and leave with the status that fits."""
        print(f'TAP version 13\n1..{len(self.cases)}')
        bad = 0
        for number, (name, findings, reason) in enumerate(self.cases, 1):
            for finding in findings:
                for line in finding.splitlines():
                    print(f'# {line}')
            bad += bool(findings)
            print(f'{"not " if findings else ""}ok {number} - {name}'
                  f'{f" # SKIP {reason}" if reason else ""}')
        if not self.cases:
            print('Bail out! there was nothing to check')
        # meson reads the plan; a status would be an error of its own to it.
        sys.exit(bool(bad or not self.cases) and
                 'MESON_TEST_ITERATION' not in os.environ)
