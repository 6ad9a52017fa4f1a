# SPDX-License-Identifier: MIT
"""Where a public name can be written down: header, symbol map, library."""
import os
import re
import subprocess

# The linker makes it itself, for any code that may lie anywhere.
LINKERS_OWN = {'_GLOBAL_OFFSET_TABLE_'}
# The ends of a section.
LINKERS_ENDS = ('__start_bz_', '__stop_bz_')


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def own_text(cc, header, include):
    """The preprocessed text of @header, with that of the headers beside it
    which it includes, and without anything else."""
    text = []
    inside = False
    for line in output(*cc, '-E', '-I', include, header).splitlines():
        marker = re.match(r'# \d+ "(.*?)"', line)
        if marker:
            inside = (os.path.dirname(marker.group(1)) ==
                      os.path.dirname(header))
        elif inside and not line.lstrip().startswith('#'):
            text.append(line)
    return '\n'.join(text)


def declarations(text):
    """The declarations at the top level, bodies in braces left out."""
    found = []
    depth = 0
    now = ''
    for char in text:
        if char == '{':
            depth += 1
            now += ' {}' if depth == 1 else ''
        elif char == '}':
            depth -= 1
            # The body of a function ends its declaration, that of a struct
            # does not.
            if not depth and re.search(r'\)\s*\{\}$', now):
                found.append(now)
                now = ''
        elif depth:
            continue
        elif char == ';':
            found.append(now)
            now = ''
        else:
            now += char
    return [' '.join(d.split()) for d in found if d.strip()]


def functions(cc, header, include):
    """Names of the functions that @header declares and a library defines."""
    names = set()
    for declaration in declarations(own_text(cc, header, include)):
        plain = re.sub(r'__attribute__\s*\(\(.*?\)\)', '', declaration)
        if re.match(r'(typedef|static)\b', plain):
            continue
        name = re.match(r'[^(]*?(\w+)\s*\(', plain)
        if name:
            names.add(name.group(1))
    return names


def functions_of(cc, headers, include):
    """The same of several headers."""
    names = set()
    for header in headers:
        names |= functions(cc, header, include)
    return names


def map_symbols(path):
    """{name: node} of the global names in a linker's version script."""
    with open(path, encoding='utf-8') as file:
        text = re.sub(r'/\*.*?\*/|#[^\n]*', '', file.read(), flags=re.S)
    names = {}
    for node, body in re.findall(r'([\w.]+)\s*\{(.*?)\}', text, flags=re.S):
        scope = 'global'
        for item in re.split(r'[;\s]+', body.replace(':', ': ')):
            if item in ('global:', 'local:'):
                scope = item[:-1]
            elif item and scope == 'global':
                names[item] = node
    return names


def library_symbols(nm, library):
    """{name: node} of what a shared library exports; '' without a version."""
    names = {}
    for line in output(nm, '-D', '--defined-only', library).splitlines():
        kind, name = line.split()[-2:]
        name, _, node = name.partition('@')
        if kind != 'A':
            names[name] = node.lstrip('@')
    return names


def objects(nm, archive):
    """[(member, defined names, undefined names)] of a static library."""
    members = []
    for line in output(nm, archive).splitlines():
        if line.endswith(':'):
            members.append((os.path.basename(line[:-1]), set(), set()))
            continue
        fields = line.split()
        if len(fields) < 2:
            continue
        kind, name = fields[-2:]
        # Small letters are local to the member, but for weak ones, and for
        # functions that are chosen when they are linked.
        if kind in 'Uwv':
            members[-1][2].add(name)
        elif kind.isupper() or kind == 'i':
            members[-1][1].add(name)
    return members


def undefined(members):
    """{name: {members}} of what a set of objects wants from elsewhere."""
    defined = set().union(*(d for _, d, _ in members)) if members else set()
    wanted = {}
    for member, _, names in members:
        for name in names - defined - LINKERS_OWN:
            if name.startswith(LINKERS_ENDS):
                continue
            wanted.setdefault(name, set()).add(member)
    return wanted
