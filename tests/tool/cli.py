#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The program bezoar, as it is called: words, statuses, what comes out.

    cli.py PROGRAM ROOT
"""
import json
import os
import re
import select
import subprocess
import sys
import tempfile

PROGRAM, ROOT = sys.argv[1:]
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position

CORPUS = os.path.join(ROOT, 'tests', 'tool', 'corpus')
ENV = dict(os.environ, LC_ALL='C', TZ='UTC')
PATIENCE = 10 * int(os.environ.get('TAP_PATIENCE', '1'))


def run(*words, data=b''):
    return subprocess.run([PROGRAM, *words], input=data, env=ENV, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def corpus(name):
    return os.path.join(CORPUS, name)


def expect(result, status, out=None, err=None):
    """@out, @err: what has to be in there; '': nothing may be."""
    if result.returncode != status:
        yield f'status {result.returncode}, not {status}: {result.stderr}'
    for got, want in ((result.stdout, out), (result.stderr, err)):
        if want == '' and got:
            yield f'something was printed: {got[:200]}'
        elif want and not re.search(want.encode(), got):
            yield f'{want} is not in {got[:600]}'


def plain(result):
    """Nothing that a terminal would act on."""
    for stream in (result.stdout, result.stderr):
        bad = [c for c in stream if c != 10 and not 32 <= c <= 126]
        if bad:
            yield f'bytes {bad[:8]} in {stream[:200]}'


def golden():
    """All that the golden record holds, in words."""
    yield from expect(run('log', corpus('golden.rec')), 0, err='')
    text = run('log', corpus('golden.rec')).stdout.decode()
    for want in ('2522-06-21T11:29:00.928784376Z  default (O129)',
                 'cause     file was truncated (C8), code 2',
                 'why       source does not match (O67)',
                 '0x1112131415163718, 4096 bytes, region "a name of thirty-one '
                 'bytes here" + 0x3718, page frame 0x3132333435, instruction '
                 '0x2122232425262728',
                 'action default, source file, depth 3, in '
                 '2025808526586883117 ns',
                 'process   1903326068 "comm of fifteen", thread 1364349780, '
                 'cgroup "...' + 127 * 'g' + '"',
                 'began at tick 9332165983064197000 of boot '
                 '61616161-6161-6161-6161-616161616161',
                 'number    16276822575519557608; up to then '
                 '10489608748473423768 faults, 161 replaced, 177 not, 193 '
                 'foreign, 209 records dropped'):
        if want not in text:
            yield f'"{want}" is not in\n{text}'


def as_json(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def golden_json():
    r = run('log', '--json', corpus('golden.rec'))
    yield from expect(r, 0, err='')
    want = {
        'version': 1, 'id': '16276822575519557608',
        'wall': '2522-06-21T11:29:00.928784376Z',
        'wall_ns': '17434265340928784376', 'boot_ns': 723685415333075483,
        'mono_ns': 72623859790382856, 'took_ns': 2025808526586883117,
        'boot_id': '61616161-6161-6161-6161-616161616161',
        'pid': 1903326068, 'tid': 1364349780,
        'start_ticks': '9332165983064197000', 'bare_child': False,
        'comm': 'comm of fifteen', 'cgroup': 127 * 'g', 'cgroup_cut': True,
        'cause': {'number': 8, 'name': 'file was truncated'}, 'si_code': 2,
        'outcome': {'number': 129, 'name': 'default'},
        'why': {'number': 67, 'name': 'source does not match'},
        'action': {'number': 4, 'name': 'default'},
        'source': {'number': 3, 'name': 'file'}, 'depth': 3,
        'addr': '0x1112131415163718', 'width': 4096,
        'ip': '0x2122232425262728', 'region': '0x4142434445464748',
        'name': 'a name of thirty-one bytes here', 'offset': 0x3718,
        'frame': '0x3132333435', 'faults': '10489608748473423768',
        'replaced': 161, 'not_replaced': 177, 'foreign': 193, 'dropped': 209,
        'digest': 'c7825a335b08d034',
    }
    for got in as_json(r):
        yield from (f'{k}: {got.get(k)}, not {want.get(k)}'
                    for k in {*want, *got} if got.get(k) != want.get(k))


def strangers():
    """Names with lines, quotes, escapes and worse."""
    r = run('log', corpus('odd-names.rec'))
    yield from expect(r, 0, r'process   \d+ "\\x1b\]0;evil\\x07\\x0a\\"\\\\\\xff"',
                      '')
    yield from plain(r)
    lines = len(run('log', corpus('golden.rec')).stdout.splitlines())
    if len(r.stdout.splitlines()) > lines:
        yield 'a name has made a line of its own'
    j = run('log', '-j', corpus('odd-names.rec'))
    yield from plain(j)
    got = as_json(j)
    if len(got) != 1 or got[0].get('comm') != '\\x1b]0;evil\\x07\\x0a\\"\\\\\\xff':
        yield f'JSON: {got}'
    if got[0].get('name') != ('\\x0a{\\"name\\":\\"x\\"}\\x0d\\xc2\\x9b2J\\\\' +
                          12 * 'A')[:len(got[0]['name'])]:
        yield f'JSON: {got[0]}'


def unknown_numbers():
    r = run('log', corpus('numbers.rec'))
    yield from expect(r, 0, r'unknown \(O65535\)', '')
    got = as_json(run('log', '--json', corpus('numbers.rec')))
    if got[0]['action']['name'] != 'unknown':
        yield f'{got[0]["action"]}'


def filtered():
    """Only what was asked for; what is no record is said all the same."""
    with open(corpus('golden.rec'), 'rb') as file:
        golden_record = file.read()
    for words, shown in (
            (('--pid', '1903326068'), 1), (('--pid', '5'), 0),
            (('--comm', 'comm of fifteen'), 1), (('--comm', 'comm'), 0),
            (('--region', 'a name of thirty-one bytes here'), 1),
            (('--region', ''), 0), (('--outcome', 'O129'), 1),
            (('--outcome', 'default'), 1), (('--outcome', 'O1'), 0),
            (('--cause', 'C8'), 1), (('--cause', 'C1'), 0),
            (('--id', '16276822575519557608'), 1), (('--id', '2'), 0),
            (('--digest', 'c7825a335b08d034'), 1), (('--digest', '0123456789abcdef'), 0),
            (('--since', '2522-06-21T11:29'), 1),
            (('--since', '2522-06-21T11:29:01Z'), 0),
            (('--since', '2522-06-22'), 0), (('--since', '2h'), 1)):
        r = run('log', '--json', '-', *words, data=golden_record + b'x')
        yield from expect(r, 1, err='1 bytes that are no record')
        if len(as_json(r)) != shown:
            yield f'{words}: {len(as_json(r))} records'
    for words, why in ((('--since', 'today'), 'no time'),
                       (('--since', '99999999d'), 'no time'),
                       (('--outcome', 'O9999'), 'no outcome'),
                       (('--id', '-1'), 'no such number'),
                       (('--digest', '1a7d'), 'no digest'),
                       (('--digest', 'c7825a335b08d0341'), 'no digest'),
                       (('--digest', '0xc7825a335b08d0'), 'no digest'),
                       (('--digest', 16 * '0'), 'no digest'),
                       (('--digest', ''), 'no digest'),
                       (('-fn',), 'one of --follow, --counts and --apart'),
                       (('-an',), 'one of --follow, --counts and --apart'),
                       (('-fa',), 'one of --follow, --counts and --apart'),
                       (('--pid', '4294967297'), 'no such number'),
                       (('--counts',), 'no store')):
        yield from expect(run('log', corpus('golden.rec'), *words), 2, '', why)
    yield from expect(run('log', corpus('none.db'), '--counts'), 2, '',
                      'No such file or directory. Name the store of a bezoard, or have one run')
    yield from expect(run('explain', 'R0'), 1, '', 'its row, from R1 on')
    yield from expect(run('explain', '--pid', '1'), 2, '', 'are for log')


def skipped():
    """What is no record is said, and what is one is shown."""
    for name, records, said in (
            ('torn-between.rec', 2, 'at byte 0: a damaged record, 100 bytes'),
            ('damaged-between.rec', 2,
             'at byte 384: a damaged record, 384 bytes'),
            ('size-lies.rec', 1, 'at byte 0: a damaged record, 384 bytes'),
            ('strange-between.rec', 2,
             'at byte 384: a record of version 2, 512 bytes'),
            ('text-between.rec', 2,
             'at byte 0: 6 bytes that are no record, skipped'),
            ('torn-end.rec', 1, 'at byte 384: a torn record at the end, 383'),
            ('long.rec', 0, 'a damaged record')):
        r = run('log', '--json', corpus(name))
        yield from expect(r, 1, err=said)
        if len(as_json(r)) != records:
            yield f'{name}: {len(as_json(r))} records, not {records}'
        with open(corpus(name), 'rb') as file:
            piped = run('log', '-', '--json', data=file.read())
        if piped.stdout != r.stdout:
            yield f'{name}: not the same from a pipe'


def one_notice():
    """A megabyte of nothing is one line."""
    r = run('log', '-', data=b'\x8fbez' * 262144)
    yield from expect(r, 1, '', r'at byte 0: 1048576 bytes that are no record')
    if r.stderr.count(b'\n') != 1:
        yield f'{r.stderr.count(10)} lines'


def many():
    """Across the edge of any buffer."""
    with open(corpus('golden.rec'), 'rb') as file:
        record = file.read()
    r = run('log', '--json', '-', data=b'x' + 1000 * record)
    yield from expect(r, 1, err=': 1 bytes that are no record')
    if len(as_json(r)) != 1000:
        yield f'{len(as_json(r))} records'


class Follower:
    """bezoar log --follow of a file, in a folder of its own."""

    def __init__(self, folder, data):
        self.path = os.path.join(folder, 'shop.rec')
        if data is not None:
            self.put(data)
        self.run = subprocess.Popen([PROGRAM, 'log', '--follow', '--json', self.path], env=ENV,
                                    bufsize=0, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT)

    def put(self, data, mode='ab'):
        with open(self.path, mode) as file:
            file.write(data)

    def says(self, what):
        line = 'nothing'
        if select.select([self.run.stdout], [], [], PATIENCE)[0]:
            line = self.run.stdout.readline().decode()
        if what not in line:
            self.run.kill()
            raise AssertionError(f'{what} is not in {line}')

    def end(self, want):
        """Nobody reads any more."""
        self.run.stdout.close()
        try:
            status = self.run.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.run.kill()
            status = self.run.wait()
        if status != want:
            raise AssertionError(f'it has ended with {status}, not {want}')


def follows():
    """A file that is appended to, cut, and moved away; and one that is not there yet."""
    with open(corpus('golden.rec'), 'rb') as file:
        golden_record = file.read()
    shown = '"digest":"c7825a335b08d034"'
    with tempfile.TemporaryDirectory() as folder:
        f = Follower(folder, golden_record)
        f.says(shown)
        f.put(golden_record)
        f.says(shown)
        # in two pieces it is one record, and nothing is said of the first
        f.put(golden_record[:100])
        f.put(golden_record[100:])
        f.says(shown)
        f.put(b'', 'wb')
        f.says('it was cut; what follows')
        f.put(golden_record)
        f.says(shown)
        # of the one that is moved away nothing is lost, be it torn
        f.put(golden_record + golden_record[:100])
        os.rename(f.path, f.path + '.old')
        f.put(golden_record)
        f.says(shown)
        f.says('a torn record at the end, 100 bytes')
        f.says('moved away; what follows')
        f.says(shown)
        f.end(1)
    # it may become a store, or a file
    for data in (None, b'') if b'without SQLite' not in run('report').stderr else ():
        with tempfile.TemporaryDirectory() as folder:
            f = Follower(folder, data)
            f.says('is waited for')
            f.put(golden_record)
            f.says(shown)
            f.end(0)


def followed():
    try:
        follows()
    except AssertionError as e:
        yield str(e)


def statuses():
    yield from expect(run('log', corpus('empty.rec')), 0, '', '')
    with tempfile.TemporaryDirectory() as folder:
        missing = os.path.join(folder, 'a\nb\x1b')
        r = run('log', missing)
        yield from expect(r, 2, '', r'a\\x0ab\\x1b: No such file')
        yield from plain(r)
        yield from expect(run('log', folder), 2, '', 'Is a directory')
    yield from expect(run(), 2, '', 'which command')
    yield from expect(run('sing'), 2, '', 'no such command')
    yield from expect(run('log', 'a', 'b'), 2, '', 'too many')
    yield from expect(run('--nonsense'), 2, '', 'unrecognized')
    yield from expect(run('explain', 'O9999'), 1, '', 'no such code')
    yield from expect(run('--version'), 0, r'^bezoar \d+\.\d+\.\d+\n$', '')
    yield from expect(run('--help'), 0, r'log \[FILE\]', '')
    with open('/dev/full', 'wb') as full:
        r = subprocess.run([PROGRAM, 'explain'], stdout=full, env=ENV,
                           stderr=subprocess.PIPE, check=False)
    yield from expect(r, 2, err='No space')


def explained():
    """Every code that is listed, in both forms."""
    lines = run('explain').stdout.decode().splitlines()
    listed = [l.split()[:2] for l in lines]
    columns = {re.match(r'\S+ +\S+ +', l).end() for l in lines}
    if len(columns) != 1:
        yield f'names begin in columns {columns}'
    objects = as_json(run('explain', '--json'))
    if len(listed) < 40 or len(objects) != len(listed):
        yield f'{len(listed)} are listed, {len(objects)} as JSON'
    for (code, symbol), entry in zip(listed, objects):
        if (code, symbol) != (entry['code'], entry['symbol']):
            yield f'{code} {symbol} is {entry["code"]} in JSON'
        r = run('explain', code)
        yield from expect(r, 0, err='')
        flat = ' '.join(r.stdout.decode().split())
        for key, head in (('happened', 'what happened'),
                          ('means', 'what it means'), ('now', 'do now'),
                          ('later', 'do later')):
            if f'{head} {entry[key]}' not in flat:
                yield f'{code}: "{head} {entry[key]}" is not in {flat}'
        if any(len(l) > 80 for l in r.stdout.splitlines()):
            yield f'{code}: a line is over 80 columns'
    same = run('explain', 'O67').stdout
    for word in ('67', 'o67', 'SOURCE_DIGEST', 'bez_outcome_source_digest'):
        if run('explain', word).stdout != same:
            yield f'{word} is not O67'


def main():
    tap = Tap()
    for check in (golden, golden_json, strangers, unknown_numbers, filtered,
                  skipped, one_notice, many, followed, statuses, explained):
        tap.case(check.__name__, list(check()))
    tap.end()


main()
