#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""contract/clauses as a table in C, so that ids and words are nowhere twice.

    clauses.py CLAUSES      print it
"""
import json
import sys


def c_string(text):
    """JSON's way to quote is C's, as long as there is only ASCII."""
    if not text.isascii():
        sys.exit(f'clauses.py: not ASCII: {text}')
    return json.dumps(text)


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        rows = [line.rstrip('\n').split('\t') for line in file
                if line[0] not in '#@\n']
    print('#include "check.h"\n\nconst struct clause clauses[] = {')
    for row in rows:
        print('\t{', ', '.join(map(c_string, row[:3])), '},')
    print('};\nconst size_t clauses_count = sizeof(clauses) / '
          'sizeof(clauses[0]);')


main()
