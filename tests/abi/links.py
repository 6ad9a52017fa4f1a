#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Write a program that links every public function of its headers."""
import argparse
import os
import sys

import symbols


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cc', required=True, nargs='+')
    parser.add_argument('--include', required=True)
    parser.add_argument('--header', required=True, nargs='+')
    parser.add_argument('--but', nargs='*', default=[],
                        help='headers of another library, which it includes')
    parser.add_argument('--output', required=True)
    args = parser.parse_args()

    names = []
    others = symbols.functions_of(args.cc, args.but, args.include)
    for header in args.header:
        found = symbols.functions(args.cc, header, args.include) - others
        if not found:
            sys.exit(f'links: {header} declares no function')
        names += sorted(found)
    with open(args.output, 'w', encoding='utf-8') as out:
        out.write('/* SPDX-License-Identifier: MIT */\n'
                  '/* Made by tests/abi/links.py. */\n'
                  f'#include <bezoar/{os.path.basename(args.header[0])}>\n'
                  '#include <stdio.h>\n\n'
                  'typedef void (*function)(void);\n\n'
                  'static const volatile function all[] = {\n')
        for name in names:
            out.write(f'\t(function){name},\n')
        out.write('};\n\n'
                  'int main(void)\n'
                  '{\n'
                  '\tsize_t i, there = 0, count = sizeof(all) / sizeof(all[0]);'
                  '\n\n'
                  '\tfor (i = 0; i < count; i++)\n'
                  '\t\tthere += !!all[i];\n'
                  '\tprintf("1..1\\n%sok 1 - %zu of %zu functions are linked'
                  '\\n",\n'
                  '\t       there == count ? "" : "not ", there, count);\n'
                  '\treturn 0;\n'
                  '}\n')


main()
