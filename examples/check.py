#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Do the demo and the short example show what they say, and only then?

check.py DEMO PROTECT, two programs. The page table's mark is all that is used
here, whatever else the machine allows: a test that can be run a hundred times
must not cost a hundred times real memory.
"""
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../tests/abi'))
from tap import Tap  # noqa: E402

demo, protect = sys.argv[1:]
tap = Tap()
SHORT = ['--backend', 'uffd', '--seed', '1', '--rate', '50', '--poison', '50']


def finished(*args, **more):
    return subprocess.run(args, capture_output=True, text=True, timeout=100, **more)


def differ(what, is_, must):
    return [] if is_ == must else [f'{what} is {is_!r}, must be {must!r}']


def smoke():
    done = finished(demo, *SHORT, '--size', '16', '--json')
    findings = differ('the exit status', done.returncode, 0)
    if done.returncode not in (0, 1):
        return findings + [done.stderr]
    result = json.loads(done.stdout)
    for name, must in {'ok': True, 'asked': 50, 'made': 50, 'taken': 50,
                       'early': 0, 'refused': 0, 'refused_why': {},
                       'not_ours': 0, 'events_missed': 0, 'wrong_bytes': 0,
                       'unreadable': 0,
                       'wrong_answers': 0, 'backend': 'uffd',
                       'without_bezoar': {'signal': 7, 'exit': -1}}.items():
        findings += differ(name, result[name], must)
    scratch = result['scratch']
    for name, must in {'asked': 20, 'made': 20, 'renewed': 20,
                       'wrong': 0}.items():
        findings += differ(f'scratch: {name}', scratch[name], must)
    if scratch['left'] < 20 or not scratch['sums']:
        findings.append(f'scratch: {scratch}')
    findings += differ('replaced in all', result['from_file'] +
                       result['from_mirror'], 50)
    findings += differ('the outcome', result['outcomes'].get('replaced'), 50)
    return findings


def lacking(text, *patterns):
    return [f'no line is like "{p}" in:\n{text}' for p in patterns
            if not re.search(f'^ *{p}$', text, re.M)]


def table():
    done = finished(demo, *SHORT, '--size', '4', '--files', '/usr/share')
    number = r'[1-9]\d*'
    return differ('the exit status', done.returncode, 0) + lacking(
        done.stdout, r'the program +died of signal 7 \(Bus error\); .*',
        'pages lost +50 of 50', 'SIGBUS taken by who touched it +50',
        f'replaced from its file +{number}',
        f'replaced from the mirror +{number}', 'refused +0', 'wrong bytes +0',
        r'from fault to resume +median \d+\.\d us, p99 \d+\.\d us, .*',
        r'\(handler entered to fault recorded: .*',
        rf'work with poison +{number} operations/s .*',
        rf'without, in turns with it +{number} operations/s .*',
        r'made by +uffd, fidelity: emulated', 'all is well')


def plan(seed):
    done = finished(demo, '--dry-run', '--size', '16', '--files', '/usr/share',
                    '--seed', seed)
    return done.stdout, differ('the exit status', done.returncode, 0)


def seed_repeats():
    first, findings = plan('7')
    lines = first.splitlines()
    findings += differ('the number of pages', len(lines), 2000)
    page = re.compile(r'(/usr/share/.+|index)\t\d+')
    if len(set(lines)) < 1000 or not all(map(page.fullmatch, lines)):
        findings.append(f'it is no plan: {lines[:5]}')
    if plan('7')[0] != first:
        findings.append('the same seed gives another plan')
    if plan('8')[0] == first:
        findings.append('another seed gives the same plan')
    return findings


def plain_log():
    done = finished(demo, *SHORT, '--size', '4')
    steps = re.findall(r'^\d+ of 50 lost and taken: .*$', done.stderr, re.M)
    findings = differ('the exit status', done.returncode, 0)
    if '\r' in done.stderr or '\033' in done.stderr or len(steps) < 2:
        findings.append(f'it is no plain log: {done.stderr!r}')
    return findings


def on_terminal():
    """All of what the demo writes on a terminal, and its exit status."""
    ours, its = pty.openpty()
    with subprocess.Popen([demo, *SHORT, '--size', '4'], stderr=its,
                          stdout=subprocess.DEVNULL) as run:
        os.close(its)
        said = b''
        try:
            while more := os.read(ours, 4096):
                said += more
        except OSError:
            pass                # EIO: the other side is closed
        os.close(ours)
        return said.decode(), run.wait(100)


def progress_line():
    said, status = on_terminal()
    findings = differ('the exit status', status, 0)
    # the terminal makes \r\n of what ends a line
    steps = [s for s in said.replace('\r\n', '\n').split('\r')
             if 'lost and taken' in s]
    if len(steps) < 5 or any('\n' in s for s in steps[:-1]):
        findings.append(f'it is not one line that changes: {said!r}')
    if not all(s.rstrip('\n').endswith('\033[K') for s in steps):
        findings.append(f'what was longer before is not cleared: {said!r}')
    return findings


BAD = [['--size', 'x'], ['--size', '0'], ['--size', '-1'], ['--size', '1.5'],
       ['--size', str(1 << 64)], ['--poison'], ['--poison', '0'],
       ['--poison', '5x'], ['--rate', '0'], ['--rate', '5/m'],
       ['--seed', ''], ['--seed', 'x'], ['--seed', '-1'],
       ['--backend', 'truncate'], ['--backend', ''], ['--files'],
       ['--files', '/nonexistent'], ['--json=yes'], ['--nonsense'],
       ['nonsense'], ['--', 'nonsense']]


def usage():
    findings = []
    for args in BAD:
        done = finished(demo, *args)
        findings += differ(f'the exit status of {args}', done.returncode, 2)
        if 'demo' not in done.stderr or done.stdout:
            findings.append(f'{args} is not answered on stderr')
    done = finished(demo, '--help')
    findings += differ('the exit status of --help', done.returncode, 0)
    return findings


def with_changed_file(*options, as_json=True):
    """Run the demo on one file that changes when it has been read."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'file')
        with open(path, 'wb') as file:
            file.write(os.urandom(4 << 20))
        options = (*options, *(['--json'] if as_json else []))
        with subprocess.Popen([demo, *SHORT, *options, '--files', folder],
                              text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as run:
            said = ''
            for line in run.stderr:
                said += line
                if line.startswith('holding'):
                    with open(path, 'r+b') as file:
                        file.write(os.urandom(4 << 20))
            return run.stdout.read(), said, run.wait(100)


NAMED = 'source does not match'


def refused():
    out, said, status = with_changed_file()
    findings = differ('the exit status', status, 1)
    if f'file is lost for good: {NAMED}\n' not in said:
        findings.append(f'it is not said why: {said}')
    if not out:
        return [*findings, 'there is no table']
    result = json.loads(out)
    for name in ('ok', 'wrong_bytes', 'not_ours', 'events_missed'):
        findings += differ(name, result[name], 0)
    findings += differ('taken and refused', result['taken'] +
                       result['refused'], result['made'])
    findings += differ('why', result['refused_why'],
                       {NAMED: result['refused']})
    if not result['unreadable'] or not result['taken']:
        findings.append(f'the others are not served any more: {out}')
    return findings


def refused_in_table():
    out, _, status = with_changed_file(as_json=False)
    return differ('the exit status', status, 1) + lacking(
        out, r'refused +[1-9]\d*', rf'[1-9]\d*: {NAMED}',
        r'work broken off by a lost page +[1-9]\d*', 'NOT ALL IS WELL')


def interrupted():
    """By a SIGBUS that is about no page: that ends the run, not the table."""
    with subprocess.Popen([demo, *SHORT, '--size', '4'], text=True,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as run:
        for line in run.stderr:
            if 'lost and taken' in line:
                run.send_signal(signal.SIGBUS)
                break
        said, out = run.stderr.read(), run.stdout.read()
        findings = differ('the exit status', run.wait(100), 1)
    if 'somebody has sent SIGBUS' not in said:
        findings.append(f'it is not said what it was: {said}')
    return findings + lacking(out, 'foreign +1',
                              r'pages lost +\d+ of 50', 'NOT ALL IS WELL')


def die():
    done = finished(demo, '--die', '--backend', 'uffd')
    findings = differ('the exit status', done.returncode, 0)
    if 'hook: ' not in done.stderr:
        findings.append(f'the hook did not run: {done.stderr}')
    return findings + lacking(
        done.stdout, r'the program died of signal 7 .*',
        'record 1: shutdown begun, because of: no source',
        "region 'ledger', byte 8315 of it, at 0x[0-9a-f]+; 4096 bytes are lost",
        'record 2: shutdown, because of: no source', 'all is well')


def die_beside_a_daemon():
    """It shows what is in a file of its own, whoever else would take its records."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        path = os.path.join(folder, 'socket')
        daemon.bind(path)
        daemon.listen()
        daemon.setblocking(False)
        done = finished(demo, '--die', '--backend', 'uffd',
                        env=dict(os.environ, BEZOAR_SOCKET=path))
        findings = differ('the exit status', done.returncode, 0)
        findings += lacking(done.stdout, 'record 2: shutdown, because of: no source',
                            'all is well')
        try:
            daemon.accept()[0].close()
            findings.append('it has connected')
        except BlockingIOError:
            return findings
    return findings


def wrong():
    out, said, status = with_changed_file('--no-digests')
    findings = differ('the exit status', status, 1)
    result = json.loads(out)
    findings += differ('ok', result['ok'], False)
    findings += differ('refused', result['refused'], 0)
    findings += differ('taken', result['taken'], 50)
    if not result['wrong_bytes']:
        findings.append('wrong bytes were not seen')
    return findings


def short_example():
    done = finished(protect)
    return (differ('the exit status', done.returncode, 0) +
            differ('the output', done.stdout, 'all bytes are right\n'))


CASES = {
    'the demo says that all is well': smoke,
    'its table says what happened': table,
    'it refuses what it does not understand': usage,
    'a seed repeats the plan': seed_repeats,
    'its progress is a plain log': plain_log,
    'its progress on a terminal is one line': progress_line,
    'a file that changed is refused by its digest': refused,
    'the table names what was refused': refused_in_table,
    'the table is there when the run is broken off': interrupted,
    'the orderly end': die,
    'the orderly end where a daemon runs': die_beside_a_daemon,
    'without digests the wrong bytes are seen': wrong,
    'the short example': short_example,
}
# a directory without files: whether pages can be lost is asked before that
with tempfile.TemporaryDirectory() as empty:
    able = finished(demo, '--backend', 'uffd', '--files', empty).stderr
for name, case in CASES.items():
    if 'cannot lose a page here' in able and case not in (usage, seed_repeats):
        tap.skip(name, able.strip())
    else:
        tap.case(name, case())
tap.end()
