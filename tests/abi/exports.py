#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Header, symbol map and library name exactly the same functions."""
import argparse
import re

import symbols
from tap import Tap


def differences(one, names, other, others):
    return ([f'{n} is in {one} and not in {other}'
             for n in sorted(names - others)] +
            [f'{n} is in {other} and not in {one}'
             for n in sorted(others - names)])


def foreign_names(cc, header, include):
    """Names in the header that do not begin as the project's names do."""
    with open(header, encoding='utf-8') as file:
        macros = re.findall(r'^\s*#\s*define\s+(\w+)', file.read(), re.M)
    text = symbols.own_text(cc, header, include)
    names = re.findall(r'\b(?:struct|enum|union)\s+(\w+)\s*\{', text)
    names += symbols.functions(cc, header, include)
    for declaration in symbols.declarations(text):
        if declaration.startswith('typedef'):
            pointer = re.search(r'\(\s*\*\s*(\w+)\s*\)', declaration)
            names.append(pointer.group(1) if pointer else
                         re.search(r'(\w+)$', declaration).group(1))
        inline = re.match(r'static\b[^(]*?(\w+)\s*\(', declaration)
        if inline:
            names.append(inline.group(1))
    return ([m for m in macros if not m.startswith(('BEZ_', 'BEZOAR_'))] +
            [n for n in names if not n.startswith('bez_')])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cc', required=True, nargs='+')
    parser.add_argument('--nm', required=True)
    parser.add_argument('--include', required=True)
    parser.add_argument('--header', required=True, nargs='+')
    parser.add_argument('--but', nargs='*', default=[],
                        help='headers of another library, which it includes')
    parser.add_argument('--map', required=True)
    parser.add_argument('--lib', required=True)
    args = parser.parse_args()

    header = (symbols.functions_of(args.cc, args.header, args.include) -
              symbols.functions_of(args.cc, args.but, args.include))
    in_map = symbols.map_symbols(args.map)
    library = symbols.library_symbols(args.nm, args.lib)

    tap = Tap()
    tap.case('the header declares functions',
             [f'{path}: none was found' for path in args.header if not
              symbols.functions(args.cc, path, args.include)])
    tap.case('header and symbol map agree',
             differences('the header', header, 'the map', set(in_map)))
    tap.case('symbol map and library agree',
             differences('the map', set(in_map), 'the library', set(library)))
    tap.case('header and library agree',
             differences('the header', header, 'the library', set(library)))
    tap.case('every symbol carries the version of its map node',
             [f'{n}: {in_map[n]} in the map, {library[n] or "no version"} in '
              'the library' for n in sorted(set(in_map) & set(library))
              if in_map[n] != library[n]])
    tap.case('every name in the header begins with bez_ or BEZ_',
             [f'{n} does not' for path in args.header for n in
              foreign_names(args.cc, path, args.include)])
    tap.end()


main()
