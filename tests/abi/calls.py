#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The system calls of the library are those that the documents name.

Who shuts a process in writes a filter by them: bezoar_memory(7), SYSTEM CALLS,
and for the guests' relay docs/vmm.md. Both are compared with src/. What may run in
the handler is in files *_sig.c and in headers; what the C library calls is not in
the sources, and not looked at.
"""
import argparse
import os
import re

from tap import Tap

CALL = re.compile(r'\bSYS_([a-z0-9_]+)')
KVM = re.compile(r'\bKVM_(?:RUN|TRANSLATE|CHECK_EXTENSION|X86_\w+|'
                 r'[GS]ET_\w+)\b')
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*', re.S)
OTHERS = ('inject', 'vmm')


def sources(folder, but=()):
    for at, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if at != folder or f not in but]
        for name in names:
            if name.endswith(('.c', '.h', '.S')):
                with open(os.path.join(at, name), encoding='utf-8') as file:
                    yield name, COMMENT.sub('', file.read())


def in_sources(src):
    """What may run in the handler, and what never does."""
    handler, others = set(), set()
    for name, text in sources(src, OTHERS):
        safe = name.endswith(('_sig.c', '.h'))
        (handler if safe else others).update(CALL.findall(text))
    return handler, others - handler


def in_page(path):
    """The same two lists, as the page has them."""
    with open(path, encoding='utf-8') as file:
        section = re.search(r'^\.Sh SYSTEM CALLS\n(.*?)^\.Sh ', file.read(),
                            re.M | re.S)
    items = re.findall(r'^\.It [^\n]*\n(.*?)(?=^\.(?:It|El)\b)',
                       section.group(1) if section else '', re.M | re.S)
    lists = [set(re.findall(r'\w+', item)) for item in items]
    return lists[:2] if len(lists) >= 2 else [set(), set()]


def differ(used, named, where):
    if not used:
        yield 'the sources have none'
    for name in sorted(used - named):
        yield f'{name} is called, and {where} does not name it there'
    for name in sorted(named - used):
        yield f'{where} names {name} there, and nobody calls it'


def relay(src, path):
    """ioctl(2) of KVM and the rest, in the paragraph about sandboxes."""
    with open(path, encoding='utf-8') as file:
        text = re.search(r'^\*\*Sandboxes\.\*\*(.*?)\n\n', file.read(),
                         re.M | re.S)
    text = text.group(1) if text else ''
    code = '\n'.join(t for _, t in sources(os.path.join(src, 'vmm')))
    calls = set(CALL.findall(code)) | set(re.findall(r'\b(uname)\(', code))
    yield from differ(set(KVM.findall(code)), set(KVM.findall(text)), 'vmm.md')
    yield from differ(calls, calls & set(re.findall(r'\w+', text)), 'vmm.md')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--src', required=True)
    parser.add_argument('--docs', required=True)
    args = parser.parse_args()

    tap = Tap()
    used = in_sources(args.src)
    named = in_page(os.path.join(args.docs, 'man', 'bezoar_memory.7'))
    for i, what in enumerate(('in the handler', 'in calls and the worker')):
        tap.case(f'bezoar_memory(7) has what is called {what}',
                 differ(used[i], named[i], 'bezoar_memory(7)'))
    tap.case('vmm.md has what the relay calls',
             relay(args.src, os.path.join(args.docs, 'vmm.md')))
    tap.end()


main()
