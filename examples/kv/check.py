#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does kv answer as its clients expect, and live on when its memory is lost?

check.py KV CAMPAIGN, two programs. The clients memccapable, memcslap and memcaslap
are libmemcached's and were not written here. The page table's mark is all that is
used to lose pages.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../tests/abi'))
from tap import Tap  # noqa: E402

kv, campaign = sys.argv[1:]
tap = Tap()
CANNOT = 77
PATIENCE = int(os.environ.get('TAP_PATIENCE') or 1)
SECONDS = 60 * PATIENCE


class Skip(Exception):
    """With the reason."""


def foreign(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Skip(f'{names[0]} is not there: install libmemcached-tools')


def differ(what, is_, must):
    return [] if is_ == must else [f'{what} is {is_!r}, must be {must!r}']


@contextlib.contextmanager
def server(*options):
    """A kv on any free port: the process, and the port."""
    with subprocess.Popen([kv, '-p', '0', '-t', '2', *options], text=True,
                          stdout=subprocess.PIPE) as process:
        try:
            yield process, int(process.stdout.readline().split(':')[-1])
        finally:
            process.kill()


class Client:
    def __init__(self, port):
        self.socket = (socket.create_connection(('127.0.0.1', port))
                       if isinstance(port, int) else
                       socket.socket(socket.AF_UNIX))
        if isinstance(port, int):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket.connect(port)
        self.socket.settimeout(SECONDS)
        self.file = self.socket.makefile('rb')

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, data, must):
        """Findings: @data is answered by @must, and by nothing else."""
        self.send(data + b'version\r\n')
        must += b'VERSION 1.0.0\r\n'
        is_ = self.file.read(len(must))
        if is_ == must:
            return []
        return [f'{data[:60]!r} is answered {is_[:100]!r}, must be '
                f'{must[:100]!r}']

    def stats(self):
        self.send(b'stats\r\n')
        found = {}
        while (line := self.file.readline()) not in (b'END\r\n', b''):
            found[line.split()[1].decode()] = int(line.split()[2])
        return found


def run(*args, **kwargs):
    return subprocess.run(args, capture_output=True, text=True,
                          timeout=SECONDS, **kwargs)


# ------------------------------------------------------- clients from outside

def capable():
    name = foreign('memccapable', 'memcapable')
    with server() as (_, port):
        done = run(name, '-h', '127.0.0.1', '-p', str(port), '-a')
    findings = [line for line in done.stdout.splitlines() if 'FAIL' in line]
    if done.stdout.count('[pass]') < 27 or 'All tests passed' not in done.stdout:
        findings.append(done.stdout + done.stderr)
    return findings


def slap():
    name = foreign('memcslap', 'memslap')
    with server() as (_, port):
        findings = []
        for test in 'set', 'get', 'mget':
            done = run(name, '-s', f'127.0.0.1:{port}', '--concurrency=4',
                       '--execute-number=500', f'--test={test}')
            findings += differ(f'the status of {test}', done.returncode, 0)
        stats = Client(port).stats()
    if stats['cmd_set'] < 2000 or stats['get_hits'] < 500:
        findings.append(f'it has not done much: {stats}')
    return findings + differ('evictions', stats['evictions'], 0)


def figures(text):
    return {name: int(value) for name, value in
            re.findall(r'^(\w+): (\d+)$', text, re.M)}


def caslap():
    name = foreign('memcaslap', 'memaslap')
    with server() as (_, port):
        done = run(name, '-s', f'127.0.0.1:{port}', '-T', '1', '-c', '16',
                   '-x', '20000', '-v', '0.5')
    findings = differ('its status', done.returncode, 0)
    found = figures(done.stdout)
    for what in 'get_misses', 'verify_misses', 'verify_failed':
        findings += differ(what, found.get(what), 0)
    return findings


def caslap_lossy():
    """Pages are lost under it: some keys are missing, and no value is wrong."""
    name = foreign('memcaslap', 'memaslap')
    done = run(campaign, '--pages', '40', '--json', '--with',
               f'{name} -s 127.0.0.1:$KV_PORT -T 1 -c 16 -x 20000 -v 0.5')
    if done.returncode == CANNOT:
        raise Skip(done.stderr.strip())
    findings = differ('the exit status', done.returncode, 0)
    found = figures(done.stderr)
    findings += differ('verify_failed', found.get('verify_failed'), 0)
    if found.get('cmd_get', 0) < 10000:
        findings.append(f'it has not done much: {done.stderr}')
    return findings + ([done.stdout] if findings else [])


# ----------------------------------------------------------------- the campaign

def lossy():
    done = run(campaign, '--pages', '200', '--seed', '1', '--json')
    if done.returncode == CANNOT:
        raise Skip(done.stderr.strip())
    findings = differ('the exit status', done.returncode, 0)
    if done.returncode not in (0, 1):
        return [*findings, done.stdout + done.stderr]
    result = json.loads(done.stdout)
    for name, must in {'ok': True, 'pages of items lost': 190,
                       'pages of the index lost': 10,
                       'wrong or missing answers': 0,
                       'keys missing without a loss': 0,
                       'restarts': 0}.items():
        findings += differ(name, result[name], must)
    for name, least in {'keys lost, the server says': 200,
                        'index made anew': 1,
                        'answers that were checked': 50000}.items():
        if result[name] < least:
            findings.append(f'{name}: {result[name]}, too few to say anything')
    return findings + ([done.stdout + done.stderr] if findings else [])


# ----------------------------------------------------------------- the protocol

K250, K251 = b'k' * 250, b'k' * 251
BAD = b'CLIENT_ERROR bad command line format\r\n'
SET = b'set a 5 0 3\r\nabc\r\n'
ANSWERS = [
    (b'\r\nfoo\r\nGET a\r\nset\r\nget\r\nset a 0 0\r\n', b'ERROR\r\n' * 6),
    (b'set a b 0 3\r\n', BAD), (b'set a 0 0 -1\r\n', BAD),
    (b'set a -1 0 3\r\n', BAD), (b'set a 0 0 x\r\n', BAD),
    (b'set %s 0 0 1\r\nx\r\nget %s\r\n' % (K250, K250),
     b'STORED\r\nVALUE %s 0 1\r\nx\r\nEND\r\n' % K250),
    (b'set %s 0 0 1\r\n' % K251, BAD), (b'get a %s\r\n' % K251, BAD),
    (b'set a 0 0 3\r\nabcde' + b'\r\n',
     b'CLIENT_ERROR bad data chunk\r\nERROR\r\n'),
    (SET + b'get x a a\n', b'STORED\r\n' + b'VALUE a 5 3\r\nabc\r\n' * 2 +
     b'END\r\n'),
    (b'set a 0 0 0\r\n\r\nget a\r\n', b'STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n'),
    (b'set a 1 0 1 noreply\r\nx\r\nappend a 2 0 1 noreply\r\ny\r\n'
     b'prepend a 3 0 1 noreply\r\nw\r\nget a\r\n',
     b'VALUE a 1 3\r\nwxy\r\nEND\r\n'),
    (SET + b'incr a 1\r\nincr a x\r\nincr b 1\r\n',
     b'STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric '
     b'value\r\nCLIENT_ERROR invalid numeric delta argument\r\n'
     b'NOT_FOUND\r\n'),
    (b'set a 0 0 20\r\n18446744073709551615\r\nincr a 11\r\ndecr a 20\r\n',
     b'STORED\r\n10\r\n0\r\n'),
    (b'set a 0 0 2\r\n99\r\nincr a 1\r\ndecr a 1\r\nget a\r\n',
     b'STORED\r\n100\r\n99\r\nVALUE a 0 3\r\n99 \r\nEND\r\n'),
    (SET + b'delete a 0\r\ndelete a\r\ndelete a 1\r\n',
     b'STORED\r\nDELETED\r\nNOT_FOUND\r\n' + BAD[:-2] +
     b'.  Usage: delete <key> [noreply]\r\n'),
    (SET + b'touch a -1\r\nget a\r\ntouch a 0\r\n',
     b'STORED\r\nTOUCHED\r\nEND\r\nNOT_FOUND\r\n'),
    (SET + b'gat 0 a\r\ngat -1 a\r\nget a\r\n', b'STORED\r\n' +
     b'VALUE a 5 3\r\nabc\r\nEND\r\n' * 2 + b'END\r\n'),
    (SET + b'flush_all 1000\r\nget a\r\nflush_all\r\nget a\r\n',
     b'STORED\r\nOK\r\nVALUE a 5 3\r\nabc\r\nEND\r\nOK\r\nEND\r\n'),
    (b'cas a 0 0 1 1\r\nx\r\n' + SET + b'cas a 0 0 1 0\r\nx\r\n',
     b'NOT_FOUND\r\nSTORED\r\nEXISTS\r\n'),
    (b'set a 0 0 1048576\r\n' + b'x' * 1048576 + b'\r\nget a\r\n',
     b'SERVER_ERROR object too large for cache\r\nEND\r\n'),
    (b'set a 0 0 3000000 noreply\r\n' + b'\n' * 3000000 + b'\r\nget a\r\n',
     b'END\r\n'),
    (b'set a 0 0 1040000\r\n' + b'x' * 1040000 + b'\r\nget a a\r\n',
     b'STORED\r\n' + (b'VALUE a 0 1040000\r\n' + b'x' * 1040000 + b'\r\n') * 2 +
     b'END\r\n'),
]


def answers():
    findings = []
    with server() as (_, port):
        client = Client(port)
        for asked, must in ANSWERS:
            findings += client.ask(asked + b'flush_all\r\n', must + b'OK\r\n')
    return findings


def in_pieces():
    """All of these at once, then byte by byte."""
    some = [(a, m) for a, m in ANSWERS if len(a) < 1000]
    asked = b''.join(a + b'flush_all\r\n' for a, _ in some)
    must = b''.join(m + b'OK\r\n' for _, m in some)
    with server() as (_, port):
        client = Client(port)
        findings = client.ask(asked, must)
        for i in range(len(asked)):
            client.send(asked[i:i + 1])
        return findings + client.ask(b'', must)


def too_long():
    with server() as (_, port):
        client = Client(port)
        client.send(b'x' * 3000)
        return differ('what a line without end gets', client.file.read(),
                      b'CLIENT_ERROR line too long\r\n')


def expires():
    with server() as (_, port):
        client = Client(port)
        findings = client.ask(b'set a 0 1 1\r\nx\r\nset b 0 1000 1\r\ny\r\n'
                              b'flush_all 2\r\nget b\r\n', b'STORED\r\n' * 2 +
                              b'OK\r\nVALUE b 0 1\r\ny\r\nEND\r\n')
        end = time.monotonic() + SECONDS
        for key in b'a', b'b':
            while time.monotonic() < end:
                client.send(b'get ' + key + b'\r\n')
                if client.file.readline() == b'END\r\n':
                    break
                client.file.readline()
                client.file.readline()
            else:
                findings.append(f'{key} does not go')
        return findings


def room():
    """More than there is room for, of one size and then of another."""
    findings = []
    with server('-m', '4') as (_, port):
        client = Client(port)
        for length in 1000, 30000, 100:
            for i in range(8_000_000 // length // 8):
                findings += client.ask(
                    b'set key%d 0 0 %d noreply\r\n' % (i, length) +
                    b'%07d ' % i * (length // 8) + b'x' * (length % 8) +
                    b'\r\n', b'') if i % 500 else client.ask(
                        b'set key%d 0 0 4\r\nlast\r\n' % i, b'STORED\r\n')
                client.send(b'set new 0 0 %d noreply\r\n' % length +
                            b'y' * length + b'\r\n')
            findings += client.ask(b'get new\r\n', b'VALUE new 0 %d\r\n' %
                                   length + b'y' * length + b'\r\nEND\r\n')
        stats = client.stats()
    if not stats['evictions'] or stats['bytes'] > 4 << 20:
        findings.append(f'{stats}')
    return findings[:3]


def slow_reader():
    """Who asks for much and reads nothing is kept waiting, and nobody else."""
    with server() as (process, port):
        client, other = Client(port), Client(port)
        findings = client.ask(b'set a 0 0 1000000\r\n' + b'x' * 1000000 +
                              b'\r\n', b'STORED\r\n')
        client.send(b'get' + b' a' * 300 + b'\r\n')
        findings += other.ask(b'get b\r\n', b'END\r\n')
        with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
            rss = int(re.search(r'VmRSS:\s*(\d+)', file.read())[1])
        if rss > 40000 and not os.environ.get('ASAN_OPTIONS'):
            findings.append(f'it keeps {rss} KiB')
        one = b'VALUE a 0 1000000\r\n' + b'x' * 1000000 + b'\r\n'
        for _ in range(300):
            if client.file.read(len(one)) != one:
                return [*findings, 'a value is wrong']
        return findings + differ('the end', client.file.readline(), b'END\r\n')


def on_path():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'kv')
        with subprocess.Popen([kv, '-s', path], stdout=subprocess.PIPE,
                              text=True) as process:
            process.stdout.readline()
            findings = Client(path).ask(SET, b'STORED\r\n')
            process.send_signal(signal.SIGTERM)
            findings += differ('the exit status', process.wait(SECONDS), 0)
        return findings + differ('what is left', os.listdir(folder), [])


WRONG = [[kv, '-p', 'x'], [kv, '-p', '65536'], [kv, '-t', '0'], [kv, '-m', '0'],
         [kv, '-x'], [kv, 'x'], [campaign, '--pages', '0'],
         [campaign, '--mib', '1'], [campaign, '--seed', ''], [campaign, 'x'],
         [campaign, '--nonsense']]


def usage():
    findings = []
    for args in WRONG:
        done = run(*args)
        findings += differ(f'the exit status of {args}', done.returncode, 2)
        if 'kv' not in done.stderr or done.stdout:
            findings.append(f'{args} is not answered on stderr')
    for args in [kv, '-h'], [campaign, '--help']:
        findings += differ('the exit status of help', run(*args).returncode, 0)
    with server() as (_, port):
        done = run(kv, '-p', str(port))
        findings += differ('with a port that is in use', done.returncode, 1)
        if 'cannot listen' not in done.stderr:
            findings.append(f'it is not said why: {done.stderr}')
    return findings


CASES = {
    'it refuses what it does not understand': usage,
    'commands are answered as memcached answers them': answers,
    'all at once, and byte by byte': in_pieces,
    'a line without an end': too_long,
    'what expires goes, and so does what is flushed later': expires,
    'when it is full, what was asked for least goes': room,
    'a reader that is slow costs nobody anything': slow_reader,
    'a Unix socket, and the end by a signal': on_path,
    'memccapable': capable,
    'memcslap': slap,
    'memcaslap sees no miss and no wrong value': caslap,
    'pages are lost, and every answer is right': lossy,
    'pages are lost under memcaslap, and no value is wrong': caslap_lossy,
}
for case_name, case in CASES.items():
    try:
        tap.case(case_name, case())
    except Skip as why:
        tap.skip(case_name, str(why))
tap.end()
