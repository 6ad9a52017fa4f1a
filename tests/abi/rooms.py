#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Who includes whom: the rooms of the house do not look into one another.

The five rooms may include their own headers and those of the common folders;
a few files join them: the path of a fault, the same for SIGSEGV, the actions
that replace a page, enter it as lost and end the process, what undoes that, and
what enters a page because its owner says so. A header
that comes in through another one counts as included, so a common header cannot
let a room in by the back door. One file that no fault walks through sees more
than one room as well; what it may see is listed here. What bezoar is measured
against, and the examples of how to do without it, see nothing of it.
"""
import fnmatch
import os
import re
import sys

from tap import Tap

ROOMS = ('fault', 'region', 'source', 'repair', 'record')
COMMON = ('.', 'sys', 'core')
# Beyond these: a deferred source is run by the helper thread.
EXTRA = {'source': ('worker',)}
JOINTS = ('path_sig.c', 'door_sig.c', 'ladder_sig.c', 'replace_sig.c',
          'degrade_sig.c', 'clear_sig.c', 'lose_sig.c', 'shutdown_sig.c')
KNOWS = {
    # opens the rooms before the first fault and closes them after the last
    'core/start.c': {'record', 'region', 'repair'},
    # opens the file behind a region, and raises the fence
    'region/region.c': {'repair'},
}
# below the folder that src/ is in
WITHOUT = (('bench', 'ref_*.c'), (os.path.join('examples', 'bare'), '*.c'))
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    """The folder of src/ that @path, relative to src/, is in; '.' for src/."""
    return path.split('/')[0] if '/' in path else '.'


def read_tree(src):
    """{file: [what it includes]}, private headers as paths below src/."""
    tree = {}
    for folder, _, files in os.walk(src):
        for name in files:
            if not name.endswith(('.c', '.h')):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding='utf-8') as file:
                found = INCLUDE.findall(file.read())
            tree[os.path.relpath(path, src)] = [
                resolve(src, folder, what) for _, what in found]
    return tree


def resolve(src, folder, what):
    for base in (folder, src):
        path = os.path.normpath(os.path.join(base, what))
        if os.path.exists(path):
            return os.path.relpath(path, src)
    return what


def reached(tree, path):
    """{header: the file that includes it} of everything @path pulls in."""
    seen = {}
    todo = [path]
    while todo:
        includer = todo.pop()
        for header in tree.get(includer, ()):
            if header not in seen:
                seen[header] = includer
                todo.append(header)
    return seen


def by_way_of(path, header, includer):
    return (f'{path} includes {header}' if includer == path else
            f'{path} includes {header} by way of {includer}')


def sees_bezoar(root, folder, pattern):
    tree = read_tree(os.path.join(root, folder))
    files = fnmatch.filter(sorted(tree), pattern)
    if not files:
        yield f'{folder} has no {pattern}'
    for path in files:
        for header, includer in reached(tree, path).items():
            # what is found outside of the folder is ours, whatever its name
            if header.startswith(('bezoar/', '../')):
                yield by_way_of(path, header, includer)


def main():
    src = sys.argv[1]
    tree = read_tree(src)
    tap = Tap()

    for room in ROOMS:
        files = sorted(f for f in tree if room_of(f) == room)
        allowed = (room, *COMMON, *EXTRA.get(room, ()))
        findings = [] if files else [f'src/{room} has no file']
        for path in files:
            known = KNOWS.get(path, set())
            for header, includer in reached(tree, path).items():
                if (header in tree and
                        room_of(header) not in (*allowed, *known)):
                    findings.append(by_way_of(path, header, includer))
        tap.case(f'{room} includes no other room', findings)

    findings = [f'src/{f} is not there' for f in JOINTS if f not in tree]
    for path in sorted(tree):
        rooms = {room_of(h) for h in reached(tree, path)} & set(ROOMS)
        if path in JOINTS:
            continue
        rooms -= {room_of(path)}
        if room_of(path) in ROOMS and path not in KNOWS:
            continue
        if len(rooms) > 1 and not rooms <= KNOWS.get(path, set()):
            findings.append(f'{path} joins {", ".join(sorted(rooms))}')
        if path in KNOWS and rooms != KNOWS[path]:
            findings.append(f'{path} no longer sees what is listed for it')
    tap.case(f'nobody but {" and ".join(JOINTS)} joins rooms, as far as is '
             'listed', findings)

    outside = [f for f in tree if room_of(f) != 'inject']
    tap.case("nobody outside includes inject's private headers",
             [by_way_of(f, h, i) for f in outside
              for h, i in reached(tree, f).items() if room_of(h) == 'inject'])
    tap.case('the library does not know inject.h',
             [by_way_of(f, h, i) for f in outside
              for h, i in reached(tree, f).items()
              if os.path.basename(h) == 'inject.h'])
    tap.case("nobody outside includes vmm's private headers",
             [by_way_of(f, h, i) for f in tree if room_of(f) != 'vmm'
              for h, i in reached(tree, f).items() if room_of(h) == 'vmm'])
    # that one is a rule of the public structs, and no code of the library's
    tap.case('vmm knows of the library what is public',
             [by_way_of(f, h, i) for f in tree if room_of(f) == 'vmm'
              for h, i in reached(tree, f).items()
              if h in tree and room_of(h) != 'vmm' and
              h != 'core/sized.h'])
    for folder, pattern in WITHOUT:
        tap.case(f'{folder}/{pattern} does without bezoar',
                 sees_bezoar(os.path.dirname(os.path.abspath(src)), folder,
                             pattern))
    tap.end()


main()
