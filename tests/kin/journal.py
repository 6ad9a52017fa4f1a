#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""journal.py BEZOARD SOURCE: what bezoard writes to the journal, by a journal that is
this program; and that all of it is in the catalogue and the manual. TAP."""
import contextlib
import fcntl
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

bezoard, source = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
JOURNAL = '/run/systemd/journal'
HOW_LONG = 30


def read(*path):
    with open(os.path.join(source, *path), encoding='utf-8') as f:
        return f.read()


IDS = dict(re.findall(r'#define JOURNAL_(\w+)\s+"([0-9a-f]{32})"',
                      read('tools', 'bezoard', 'journal.h')))


def documented():
    catalogue = read('contrib', 'systemd', 'bezoar.catalog')
    manual = read('docs', 'man', 'bezoard.8')
    if len(IDS) < 4 or len(set(IDS.values())) < len(IDS):
        return f'these are the identities: {IDS}'
    if set(re.findall(r'^-- ([0-9a-f]{32})$', catalogue, re.M)) != set(IDS.values()):
        return 'the catalogue has others than journal.h'
    if set(re.findall(r'MESSAGE_ID=([0-9a-f]{32})', manual)) != set(IDS.values()):
        return 'bezoard(8) has others than journal.h'
    fields = set(re.findall(r'"(BEZOAR_\w+)=', read('tools', 'bezoard', 'news.c') +
                            read('tools', 'bezoard', 'store_aside.c')))
    unknown = set(re.findall(r'@(\w+)@', catalogue)) - fields
    return f'the catalogue has fields that are not sent: {unknown}' if unknown else None


def compiled():
    """By the journal's own tool, where it is there."""
    with tempfile.TemporaryDirectory() as root:
        folder = root + '/usr/lib/systemd/catalog'
        os.makedirs(folder)
        os.makedirs(root + '/var/lib/systemd/catalog')
        with open(folder + '/bezoar.catalog', 'w', encoding='utf-8') as f:
            f.write(read('contrib', 'systemd', 'bezoar.catalog'))
        for words in (['--update-catalog'], ['--list-catalog']):
            try:
                r = subprocess.run(['journalctl', '--root', root] + words, text=True,
                                   capture_output=True, check=False)
            except FileNotFoundError:
                return 'SKIP journalctl is not installed'
            if r.returncode or r.stderr:
                return r.stderr
        missing = [i for i in IDS.values() if i not in r.stdout]
        return f'not listed: {missing}' if missing else None


class Daemon:
    """@stderr: a socket; else a file, which says to be the journal's if @is_journal."""
    def __init__(self, work, is_journal, stderr=None):
        self.work = work
        os.mkdir(work + '/left')
        with open(work + '/left/one', 'wb') as f:
            with open(source + '/tests/tool/corpus/golden.rec', 'rb') as golden:
                f.write(golden.read())
        os.mkfifo(work + '/kmsg')
        self.log = os.open(work + '/kmsg', os.O_RDWR)
        os.write(self.log, b'3,1,1000,-;Memory failure: 0x12345: unhandlable page.\n')
        with open(work + '/said', 'wb') as said:
            st = os.fstat(said.fileno())
            env = dict(os.environ)
            env.pop('JOURNAL_STREAM', None)
            if is_journal:
                env['JOURNAL_STREAM'] = f'{st.st_dev}:{st.st_ino}'
            self.child = subprocess.Popen(
                [bezoard, '--socket', work + '/socket', '--store', work + '/records.db',
                 '--files', work + '/left', '--kmsg', work + '/kmsg'], stderr=stderr or said,
                env=env)

    def said(self):
        with open(self.work + '/said', encoding='utf-8') as f:
            return f.read()

    def end(self):
        self.child.terminate()
        self.child.wait(HOW_LONG)
        os.close(self.log)


def dies(work):
    """A process that is connected and ends with a shell's 135."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(work + '/socket')
    os._exit(135)


def entries(journal, want):
    got = {}
    while set(got) != want:
        text = journal.recv(65536).decode()
        entry = dict(line.split('=', 1) for line in text.splitlines())
        got[entry['MESSAGE_ID']] = entry
    return got


def sent():
    try:
        os.makedirs(JOURNAL)
    except OSError as e:
        return f'SKIP {JOURNAL} cannot be made: {e}'
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.settimeout(HOW_LONG)
    journal.bind(JOURNAL + '/socket')
    with tempfile.TemporaryDirectory() as work:
        # a store that is damaged, to begin with: by its lock it is a bezoard's
        with open(work + '/records.db.lock', 'wb'):
            pass
        with open(work + '/records.db', 'wb') as f:
            f.write(b'SQLite format 3\0' + b'x' * 8000)
        daemon = Daemon(work, True)
        got = entries(journal, {IDS[i] for i in ('RECORD', 'KERNEL', 'ASIDE')})
        dies(work)
        got.update(entries(journal, {IDS['DEATH']}))
        daemon.end()
        said = daemon.said()
    for entry in got.values():
        if entry['MESSAGE'] in said:
            return 'what is in the journal was said twice: ' + said
    kernel, record, death = (got[IDS[i]] for i in ('KERNEL', 'RECORD', 'DEATH'))
    if kernel['BEZOAR_FRAME'] != '0x12345' or kernel['BEZOAR_KIND'] != 'poison' or \
            kernel['PRIORITY'] != '4':
        return f'the kernel: {kernel}'
    if not re.fullmatch(r'O\d+', record['BEZOAR_OUTCOME']):
        return f'a record: {record}'
    if death['BEZOAR_STATUS'] != str(135 << 8) or death['PRIORITY'] != '3':
        return f'a death: {death}'
    return None


def catted():
    """Connected to the journal's stream, as systemd-cat does it, without a variable; and to
    somebody else's."""
    os.makedirs(JOURNAL, exist_ok=True)
    with contextlib.ExitStack() as closed:
        def bound(kind, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{JOURNAL}/{name}')
            s = closed.enter_context(socket.socket(socket.AF_UNIX, kind))
            s.settimeout(HOW_LONG / 3)
            s.bind(f'{JOURNAL}/{name}')
            return s

        def said(name):
            """The connection's other end, of a daemon that has said what it had to."""
            listener = bound(socket.SOCK_STREAM, name)
            listener.listen()
            work = closed.enter_context(tempfile.TemporaryDirectory())
            stderr = closed.enter_context(socket.socket(socket.AF_UNIX))
            stderr.connect(f'{JOURNAL}/{name}')
            daemon = Daemon(work, False, stderr)
            closed.callback(daemon.end)
            end = closed.enter_context(listener.accept()[0])
            end.settimeout(HOW_LONG / 3)
            return end

        journal = bound(socket.SOCK_DGRAM, 'socket')
        said('stdout')
        try:
            record = entries(journal, {IDS['RECORD'], IDS['KERNEL']})[IDS['RECORD']]
        except TimeoutError:
            return 'no entries'
        if record['BEZOAR_NUMBER'] != '1':
            return f'a record: {record}'
        words, other = b'', said('other')
        while b'bezoard: record 1: ' not in words:
            try:
                words += other.recv(65536)
            except TimeoutError:
                return f'by another stream: {words}'
    return None


def elsewhere():
    """No journal: the same sentences on standard error."""
    with tempfile.TemporaryDirectory() as work:
        daemon = Daemon(work, False)
        while not all(w in daemon.said() for w in ('bezoard: record 1: ',
                                                   'of page frame 0x12345: ')):
            if daemon.child.poll() is not None:
                return 'it has ended: ' + daemon.said()
        daemon.end()
    return None


def fill(path):
    """So that not even who is new can send there: one that has sent much may have no room
    of its own any more (net.unix.max_dgram_qlen)."""
    fillers, sent = [], 1
    while sent:
        fillers.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        fillers[-1].setblocking(False)
        sent = 0
        while True:
            try:
                fillers[-1].sendto(b'x', path)
            except BlockingIOError:
                break
            sent += 1
    return fillers


def stuck():
    """A journal that nobody reads, and a standard error likewise: it goes on."""
    if os.environ['KIN_JOURNAL'] != 'own':
        return 'SKIP it takes root'
    for kind in ('journal', 'socket', 'pipe'):
        with tempfile.TemporaryDirectory() as work:
            os.mkfifo(work + '/kmsg')
            log = os.open(work + '/kmsg', os.O_RDWR)
            # one read(2) gives one line, like the kernel's
            fcntl.fcntl(log, fcntl.F_SETFL, os.O_DIRECT)
            ends = socket.socketpair() if kind != 'pipe' else None
            read_, write = [e.fileno() for e in ends] if ends else os.pipe()
            # so that there is no room for a line
            os.set_blocking(write, False)
            while True:
                try:
                    os.write(write, b'x')
                except BlockingIOError:
                    break
            os.set_blocking(write, True)
            env = dict(os.environ)
            st = os.fstat(write)
            env.pop('JOURNAL_STREAM', None)
            if kind == 'journal':
                env['JOURNAL_STREAM'] = f'{st.st_dev}:{st.st_ino}'
            os.makedirs(JOURNAL, exist_ok=True)
            if os.path.exists(JOURNAL + '/socket'):
                os.unlink(JOURNAL + '/socket')
            journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            journal.bind(JOURNAL + '/socket')
            fillers = fill(JOURNAL + '/socket')
            child = subprocess.Popen([bezoard, '--socket', work + '/socket', '--store',
                                      work + '/records.db', '--kmsg', work + '/kmsg'],
                                     stderr=write, env=env)
            for n in range(3):
                os.write(log, f'3,{n},1000,-;Memory failure: 0x{n}: unhandlable page.\n'
                         .encode())
            end = time.monotonic() + HOW_LONG / 3
            rows = 0
            while rows < 3 and time.monotonic() < end:
                try:
                    db = sqlite3.connect(f'file:{work}/records.db?mode=ro', uri=True)
                    rows = db.execute('SELECT ifnull(max(n), 0) FROM counts WHERE '
                                      "name = 'not said'").fetchone()[0]
                    db.close()
                except sqlite3.Error:
                    pass
                time.sleep(0.01)
            child.terminate()
            for filler in fillers:
                filler.close()
            try:
                child.wait(HOW_LONG / 3)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                return f'{kind}: it hangs'
            os.close(log)
            if not ends:
                os.close(read_)
                os.close(write)
            if rows < 3:
                return f'{kind}: {rows} were counted as not said'
    return None


def main():
    if 'KIN_JOURNAL' not in os.environ:
        # in a /run of its own, where the journal is this program
        os.environ['KIN_JOURNAL'] = 'real'
        if not subprocess.run(['unshare', '-m', 'mount', '-t', 'tmpfs', 'none', '/run'],
                              capture_output=True, check=False).returncode:
            os.environ['KIN_JOURNAL'] = 'own'
            os.execvp('unshare', ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /run && '
                                  'exec "$@"', 'sh', sys.executable, '-B'] + sys.argv)
    own = os.environ['KIN_JOURNAL'] == 'own'
    tests = [('each entry is in the catalogue and the manual', documented),
             ('the catalogue can be compiled', compiled),
             ('entries with their fields', sent if own else lambda:
              'SKIP it takes root'),
             ('below systemd-cat', catted if own else lambda: 'SKIP it takes root'),
             ('without a journal', elsewhere),
             ('one that does not read', stuck)]
    print(f'TAP version 13\n1..{len(tests)}')
    for n, (name, test) in enumerate(tests, 1):
        wrong = test()
        if wrong and wrong.startswith('SKIP '):
            print(f'ok {n} - {name} # {wrong}')
            continue
        for line in (wrong or '').splitlines():
            print('# ' + line)
        print('not ' * bool(wrong) + f'ok {n} - {name}')


main()
