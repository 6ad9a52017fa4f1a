#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py FILE: print it as a string of C, so that the program is all there is."""
import json
import sys

print('/* Made of cells by embed.py. */\n#include "matrix.h"\n\nconst char matrix_cells[] =')
with open(sys.argv[1], encoding='ascii') as file:
    for line in file:
        if not line.startswith('#') and line.strip():
            print('\t' + json.dumps(line))
print('\t"";')
