#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""bezoar check, on this machine: what it says is the contract, and true.

    check.py PROGRAM ROOT
"""
import ctypes
import fcntl
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys

PROGRAM, ROOT = sys.argv[1:]
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position

NOBODY = 65534
EPERM = 1
# What takes real poison.
ONLY_REAL = {'S1.2', 'S1.4', 'S2.12', 'S7.1'}
# Of the machine, not of the kernel: memory that may be locked.
MAY_LACK = {'S2.15'}
ENV = dict(os.environ, LC_ALL='C')
SLOW = ['--deadline', str(20 * int(os.environ.get('TAP_PATIENCE', '1')))]
CALLS = {'x86_64': (0xc000003e, {'userfaultfd': 323, 'sigaltstack': 131,
                                 'memfd_create': 319, 'ioctl': 16}),
         'aarch64': (0xc00000b7, {'userfaultfd': 282, 'sigaltstack': 132,
                                  'memfd_create': 279, 'ioctl': 29})}
NEW_UFFD = 0xaa00                       # the ioctl of /dev/userfaultfd


def refuse(call):
    """From here on @call says EPERM, in this process and its children, and so
    does the device of userfaultfd(2) if it is that."""
    arch, numbers = CALLS[platform.machine()]
    also = NEW_UFFD if call == 'userfaultfd' else 0xffffffff
    code = b''.join(struct.pack('HBBI', *i) for i in (
        (0x20, 0, 0, 4), (0x15, 0, 6, arch),       # another architecture: all
        (0x20, 0, 0, 0), (0x15, 3, 0, numbers[call]),
        (0x15, 0, 3, numbers['ioctl']),
        (0x20, 0, 0, 24), (0x15, 0, 1, also),      # its second argument
        (0x06, 0, 0, 0x00050000 | EPERM), (0x06, 0, 0, 0x7fff0000)))
    room = ctypes.create_string_buffer(code)
    program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(room))
    libc = ctypes.CDLL(None, use_errno=True)
    if (libc.prctl(38, 1, 0, 0, 0) or
            libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0)):
        raise OSError(ctypes.get_errno(), 'seccomp')


def nobody():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def closed_to_nobody():
    """Why an unprivileged user cannot run the program; or None."""
    try:
        r = subprocess.run([PROGRAM, '--version'], preexec_fn=nobody,
                           check=False, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    except PermissionError:
        r = None
    return None if r and not r.returncode else \
        'the build folder is closed to other users'


def run(*words, before=None, stdin=subprocess.DEVNULL):
    return subprocess.run([PROGRAM, 'check', *SLOW, *words], env=ENV,
                          check=False, stdin=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=before)


def ask(*words, before=None):
    """Its JSON; what is wrong with the call itself is said by status()."""
    r = run('--json', *words, before=before)
    o = json.loads(r.stdout) if r.stdout else {}
    o['exit'] = r.returncode
    o['stderr'] = r.stderr.decode()
    return o


def results(o):
    return {c['id']: c['result'] for c in o['clauses']}


def status(o, want):
    """@want, and what it says of itself agrees."""
    if (o['exit'], o['status']) != (want, want):
        yield f'status {o["exit"]} ({o["status"]}), not {want}: {o["stderr"]}'
    words = list(results(o).values())
    for word in ('holds', 'broken', 'untested'):
        if words.count(word) != o['count'][word]:
            yield f'{o["count"][word]} {word}, and there are {words}'


def contract():
    """What contract/clauses says: id to text and kernel."""
    with open(os.path.join(ROOT, 'contract', 'clauses'),
              encoding='utf-8') as file:
        rows = [line.split('\t') for line in file if line[0] not in '#@\n']
    return {row[0]: (row[1], row[2]) for row in rows}


def same_words(o):
    """Ids, words and kernels are the contract's; there is an answer to each."""
    table, ids = contract(), [c['id'] for c in o['clauses']]
    if len(ids) < 20 or len(set(ids)) != len(ids):
        yield f'{len(ids)} clauses, some of them twice? {ids}'
    if ids != [i for i in table if i in ids]:
        yield f'not the order of the contract, or not in it: {ids}'
    for c in o['clauses']:
        if table.get(c['id']) != (c['text'], c['since']):
            yield f'{c}: the contract says {table.get(c["id"])}'
        if c['statement'] != c['id'].split('.', maxsplit=1)[0]:
            yield f'{c["id"]} is of {c["statement"]}'
        if c['result'] not in ('holds', 'broken', 'untested'):
            yield f'{c["id"]}: {c["result"]}'
        if c['result'] != 'holds' and not c['why']:
            yield f'{c["id"]}: {c["result"]}, and not why'
        if bool(c['means']) != (c['result'] != 'untested'):
            yield f'{c["id"]}: {c["result"]} means {c["means"]}'


def memory_failure():
    return os.path.exists('/proc/sys/vm/memory_failure_recovery')


def kept(o):
    """What this kernel keeps, it says so; the rest is what is known to fail."""
    broken = set() if memory_failure() else {'S1.1'}
    yield from status(o, 1 if broken else 0)
    for c in o['clauses']:
        want = ({'untested'} if c['id'] in ONLY_REAL else
                {'broken'} if c['id'] in broken else
                {'holds', 'untested'} if c['id'] in MAY_LACK else {'holds'})
        if c['result'] not in want:
            yield f'{c["id"]}: {c["result"]}: {c["why"]}'
    why = {c['id']: c['why'] for c in o['clauses']}
    if 'takes --real' not in why['S2.16']:
        yield f'S2.16 lost no page, and says: {why["S2.16"]}'
    never = 'cannot survive a real memory error' in o['sentence']
    if never == memory_failure():
        yield o['sentence']
    for phrase in ('This machine can survive', 'private memory', 'own stack'):
        if phrase not in o['sentence']:
            yield f'"{phrase}" is not in: {o["sentence"]}'


def fact(o, name):
    return {f['name']: f['value'] for f in o['facts']}.get(name)


def facts(o):
    """Those that can be compared are right; each has its meaning."""
    known = {f['name']: f['value'] for f in o['facts']}
    if len(known) != len(o['facts']):
        yield 'a name is there twice'
    for f in o['facts']:
        if (set(f) != {'group', 'name', 'value', 'means'} or not f['means'] or
                not isinstance(f['value'], (str, type(None)))):
            yield f'{f}'
    with open('/proc/sys/vm/max_map_count', encoding='ascii') as file:
        maps = file.read().strip()
    for name, want in (('vm.max_map_count', maps),
                       ('release', f'{os.uname().release} '
                                   f'{os.uname().machine}')):
        if known.get(name) != want:
            yield f'{name}: {known.get(name)}, not {want}'
    there = known.get('vm.memory_failure_recovery') != 'not there'
    if there != memory_failure():
        yield f'{known.get("vm.memory_failure_recovery")}'
    built = known.get('CONFIG_MEMORY_FAILURE')
    if built and (built == 'y') != memory_failure():
        yield f'CONFIG_MEMORY_FAILURE: {built}'
    if (os.access('/proc/config.gz', os.R_OK) and shutil.which('gzip') and
            not built):
        yield '/proc/config.gz can be read, and was not'
    for name in ('CONFIG_MEMORY_FAILURE', 'SER_P', 'LMCE_P', 'EDAC', 'HEST',
                 'EINJ', 'KVM', 'userfaultfd', 'seccomp', 'capabilities',
                 'cgroup memory limit', 'rseq', 'RLIMIT_MEMLOCK',
                 'shadow stack'):
        if name not in known:
            yield f'there is no {name}'


def in_words(o):
    """The text says the same, in lines that fit and are plain."""
    r = run()
    if r.returncode != o['exit'] or r.stderr:
        yield f'status {r.returncode}, {r.stderr}'
    lines = r.stdout.decode('ascii').splitlines()
    yield from (f'over 80 columns: {l}' for l in lines if len(l) > 80)
    yield from (f'not plain: {l!r}' for l in lines if not l.isprintable())
    flat = ' '.join(' '.join(lines).split())
    words = {'untested': 'cannot be tested here'}
    for c in o['clauses']:
        want = (f'{c["id"]} {words.get(c["result"], c["result"])} - '
                f'{c["text"]}')
        for piece in (want, c['why'] or '', c['means'] or ''):
            if piece not in flat:
                yield f'"{piece}" is not in it'
    for f in o['facts']:
        if f'{f["name"]} ' not in flat or f['means'] not in flat:
            yield f'{f["name"]} is not in it'
    if not flat.endswith(o['sentence']):
        yield f'it does not end with "{o["sentence"]}", but {flat[-200:]}'


def in_short(o):
    flat = ' '.join(run('--quiet').stdout.decode('ascii').split())
    for c in o['clauses']:
        if (f'{c["id"]} ' in flat) != (c['result'] != 'holds'):
            yield f'{c["id"]}, which {c["result"]}: {flat}'
    if not flat.endswith(o['sentence']) or 'seccomp' in flat:
        yield flat


def without_privilege(o):
    n = ask(before=nobody)
    yield from status(n, o['exit'])
    for i, result in results(n).items():
        if result not in (results(o)[i], 'untested') or (
                result != results(o)[i] and i not in MAY_LACK):
            yield f'{i}: {result}, and {results(o)[i]} before'
    may_open_uffd = (os.path.exists('/dev/userfaultfd') and
                     os.stat('/dev/userfaultfd').st_mode & 0o006)
    if 'SYS_ADMIN no' not in fact(n, 'capabilities'):
        yield fact(n, 'capabilities')
    if (fact(n, 'vm.unprivileged_userfaultfd') == '0' and
            not may_open_uffd and
            not fact(n, 'userfaultfd').startswith('user accesses only')):
        yield fact(n, 'userfaultfd')


def nothing_to_try():
    """Where no page can be lost, nothing is known, and nothing is broken."""
    n = ask(before=lambda: refuse('userfaultfd'))
    yield from status(n, 77)
    if set(results(n).values()) != {'untested'}:
        yield f'{results(n)}'
    yield from (f'{c["id"]}: {c["why"]}' for c in n['clauses']
                if 'userfaultfd(2) is filtered' not in c['why'])
    if (fact(n, 'seccomp') != 'a filter' or
            not fact(n, 'userfaultfd').startswith('refused')):
        yield f'{fact(n, "seccomp")}, {fact(n, "userfaultfd")}'
    if 'can survive nothing that was tried' not in n['sentence']:
        yield n['sentence']


def broken():
    """A machine on which bezoar cannot start."""
    n = ask(before=lambda: refuse('sigaltstack'))
    yield from status(n, 1)
    got = results(n)
    for i, want in (('S1.3', 'holds'), ('S2.1', 'broken'), ('S3.1', 'broken'),
                    ('S9.1', 'holds'), ('S9.2', 'broken')):
        if got[i] != want:
            yield f'{i}: {got[i]}, not {want}'
    why = {c['id']: c['why'] for c in n['clauses']}['S2.1']
    if 'bez_start(): Operation not permitted' not in why:
        yield why
    if not re.search('cannot survive .*a page of private memory that has a '
                     'source', n['sentence']):
        yield n['sentence']


def strict(o):
    """What cannot be tested is a failure for who has asked for all."""
    if not o['count']['untested']:
        yield 'real poison is not needed any more?'
    yield from status(ask('--strict'), 1)
    if o['exit'] == 0 and run('--strict', '--quiet').returncode != 1:
        yield 'not in words'
    n = ask('--strict', before=lambda: refuse('userfaultfd'))
    yield from status(n, 1)


def no_memory_files():
    """What is written nowhere has not been seen to be right, nor wrong."""
    n = ask(before=lambda: refuse('memfd_create'))
    for c in n['clauses']:
        want = ('untested' if c['id'] in ('S2.2', 'S2.16', 'S3.2', 'S9.1',
                                          'S9.4') else
                'holds' if c['id'] in ('S2.1', 'S3.1', 'S5.2', 'S9.2') else
                c['result'])
        if c['result'] != want or (want == 'untested' and
                                   c['id'] not in ONLY_REAL and
                                   'memfd_create' not in c['why']):
            yield f'{c["id"]}: {c["result"]}, not {want}: {c["why"]}'


def real_is_asked_for():
    """Without a yes, and who could be asked, nothing is lost."""
    can = memory_failure() and os.geteuid() == 0
    r = run('--real', '--json')
    if can and (r.returncode != 2 or b'wants --yes' not in r.stderr or
                b'out of use' not in r.stderr):
        yield f'status {r.returncode}: {r.stderr}'
    if not can:
        o = json.loads(r.stdout)
        if r.returncode != 77 or {*results(o).values()} != {'untested'}:
            yield f'status {r.returncode}: {results(o)}'
        yield from (c['why'] for c in o['clauses'] if not re.search(
            'CONFIG_MEMORY_FAILURE|CAP_SYS_ADMIN', c['why']))
        if o['pages']['lost'] or o['poison'] != 'real':
            yield f'{o["pages"]}'
        # a word of C is none for who calls a program, and nothing was lost
        text = run('--real').stdout
        if b'BEZ_INJECT' in r.stdout + text or b'No page was lost:' not in text:
            yield f'{text[:600]}'
        if not memory_failure() and b'leave out --real' not in r.stdout:
            yield f'{text[:600]}'


def called_wrongly():
    for words, said in ((('x',), 'no argument'), (('--deadline', '0'), '3600'),
                        (('--deadline', '4x'), '3600'),
                        (('--deadline', ''), '3600'),
                        (('--yes',), 'about --real'),
                        (('--json', '--quiet'), 'one of --json and --quiet')):
        r = subprocess.run([PROGRAM, 'check', *words], env=ENV, check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if r.returncode != 2 or r.stdout or said.encode() not in r.stderr:
            yield f'{words}: status {r.returncode}, {r.stderr}'
    r = subprocess.run([PROGRAM, 'explain', '--real'], env=ENV, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode != 2 or b'are for check' not in r.stderr:
        yield f'explain --real: status {r.returncode}, {r.stderr}'
    with open('/dev/full', 'wb') as full:
        r = subprocess.run([PROGRAM, 'check', *SLOW], stdout=full, env=ENV,
                           stderr=subprocess.PIPE, check=False)
    if r.returncode != 2 or b'No space' not in r.stderr:
        yield f'to /dev/full: status {r.returncode}, {r.stderr}'


def have_huge_pages_alone():
    """What tests/huge.c has, so that no test misses those that we take."""
    path = '/tmp/.bezoar-huge'
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:                     # another user's
        file = os.open(path, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)


def main():
    tap = Tap()
    have_huge_pages_alone()
    o = ask()
    tap.case('ids and words are the contract\'s', same_words(o))
    tap.case('facts', facts(o))
    if o['exit'] == 77:
        why = o['clauses'][0]['why']
        for check in (kept, in_words, in_short, strict, without_privilege,
                      broken, no_memory_files):
            tap.skip(check.__name__, why)
    else:
        for check in (kept, in_words, in_short, strict):
            tap.case(check.__name__, check(o))
        if closed_to_nobody():
            tap.skip('without_privilege', closed_to_nobody())
        else:
            tap.case('without_privilege', without_privilege(o))
        tap.case('broken', broken())
        tap.case('no_memory_files', no_memory_files())
    for check in (nothing_to_try, real_is_asked_for, called_wrongly):
        tap.case(check.__name__, check())
    tap.end()


main()
