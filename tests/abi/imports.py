#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""What the handler's code and the library want from outside themselves."""
import argparse
import fnmatch
import os
import re

import symbols
from tap import Tap

# A C library and the dynamic linker that comes with it.
NEEDED = re.compile(r'(libc\.so\.6|ld-linux-[\w.-]+)$')


def read_allow(path):
    allow = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            if line.strip() and not line.startswith('#'):
                name, _, reason = line.partition('\t')
                allow[name.strip()] = reason.strip()
    return allow


def handler_sources(src, others):
    """Every *_sig.c below @src that belongs to the library itself."""
    found = []
    for folder, _, files in os.walk(src):
        if os.path.relpath(folder, src).split(os.sep)[0] not in others:
            found += [os.path.join(folder, name) for name in files
                      if name.endswith('_sig.c')]
    return sorted(found)


def unbuilt(sources, src, members):
    """Handler sources that are not in the archive, and so not checked."""
    names = [member for member, _, _ in members]
    for source in sources:
        # meson names an object after the path, with other separators.
        flat = os.path.relpath(source, src).replace(os.sep, '_') + '.o'
        if not any(name.endswith(flat) for name in names):
            yield f'{source} is not in the archive of the handler'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nm', required=True)
    parser.add_argument('--readelf', required=True)
    parser.add_argument('--src', required=True)
    parser.add_argument('--archive', required=True)
    parser.add_argument('--allow', required=True)
    parser.add_argument('--lib', help='the shared library')
    parser.add_argument('--others', nargs='*', default=[],
                        help='folders of --src with libraries of their own')
    parser.add_argument('--inject-map', help='names the library may not use')
    args = parser.parse_args()

    tap = Tap()
    members = symbols.objects(args.nm, args.archive)
    sources = handler_sources(args.src, args.others)
    tap.case('every *_sig.c is in the archive of the handler',
             list(unbuilt(sources, args.src, members))
             if sources else [f'{args.src} has no *_sig.c'])

    allow = read_allow(args.allow)
    tap.case('every allowed name has its reason',
             [f'{name} has none' for name in allow if not allow[name]])
    wanted = symbols.undefined(members)
    tap.case('the handler wants nothing but what is allowed',
             [f'{name}, wanted by {", ".join(sorted(wanted[name]))}, is not '
              f'in {os.path.basename(args.allow)}' for name in sorted(wanted)
              if not any(fnmatch.fnmatchcase(name, a) for a in allow)])

    if args.lib:
        needed = re.findall(r'\(NEEDED\).*\[(.*)\]',
                            symbols.output(args.readelf, '-dW', args.lib))
        tap.case('the library needs only the C library',
                 [f'it needs {name}' for name in needed
                  if not NEEDED.match(name)])
    if args.lib and args.inject_map:
        strange = symbols.map_symbols(args.inject_map)
        used = symbols.output(args.nm, '-D', '--undefined-only', args.lib)
        tap.case('the library uses nothing of libbezoar-inject',
                 [f'it uses {name}' for name in
                  re.findall(r'\bU (\w+)', used) if name in strange] +
                 [f'the handler uses {name}' for name in sorted(wanted)
                  if name in strange])
    tap.end()


main()
