#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The page of bezoar report: it is well made, and says what the store says.

    page.py BEZOAR STORE ROOT [sanitized]
"""
import collections
import fcntl
import json
import os
import shutil
import random
import re
import stat
import subprocess
import sys

from common import (BEZOAR, BILLION, ENV, T0, Place, Tap, bezoar, expect, found_by,
                    line, page_of, parse, table, text_of)

WHOLE, WITHOUT, ENDED, PASSED, OTHER = range(5)
FATE = {1: WHOLE, 2: WHOLE, 3: WHOLE, 8: WITHOUT, 16: WITHOUT, 130: WITHOUT,
        20: ENDED, 131: ENDED, 129: PASSED, 67: PASSED, 5: OTHER, 128: OTHER,
        999: OTHER}
F_SETPIPE_SZ = 1031             # fcntl.F_SETPIPE_SZ, of later Pythons
MOST_MEMORY = 24 << 10          # KiB, more than a small store takes


def drawn(seed=1, count=400):
    """Records of all kinds, over some days."""
    draw = random.Random(seed)
    for _ in range(count):
        yield {'wall': T0 + draw.randrange(4 * 86400) * BILLION,
               'outcome': draw.choice(list(FATE)),
               'why': draw.choice((0, 0, 67)), 'cause': draw.choice((1, 2, 8)),
               'took': int(10 ** draw.uniform(2, 10)),
               'frame': draw.choice((-1, 0x1234, 0x5678, 2 ** 40)),
               'boot': draw.choice((1, 2)),
               'comm': draw.choice((b'shop', b'bank')),
               'name': draw.choice((b'', b'index', b'a < b & "c"'))}


def full():
    """With all that a store can have."""
    return Place((line(**r) for r in drawn()), f'''
        INSERT INTO places SELECT number, 9000 + number % 3,
            iif(number % 2, 'CPU0_DIMM_A1', '') FROM records ORDER BY number LIMIT 40;
        INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, frame, dimm,
            pid, text) VALUES ({T0}, x'00', 1, {T0}, 'poison', 9000, '', 0, x''),
            ({T0}, x'00', 2, {T0}, 'poison', 9000, '', 0, x''),
            ({T0}, x'00', 3, {T0}, 'corrected', -1, '', 0, x'');
        INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, status,
            told) VALUES ({T0}, x'00', 5, 1, 1000, 'shop', 7, 3),
            ({T0}, x'00', 6, 1, 1000, 'shop', 135 << 8, 0),
            ({T0}, x'00', 7, 1, 1000, 'bank', 11, 0),
            ({T0}, x'00', 8, 1, 1000, 'bank', -1, 0),
            ({T0}, x'00', 9, 1, 1000, 'bank', 7, 0),
            ({T0}, x'00', 10, 1, 1000, 'bank', 7, 999999),
            ({T0}, x'00', 11, 1, 1000, 'shop', 7, (SELECT min(number) FROM
                records WHERE cause = 8));
        UPDATE deaths SET told = (SELECT min(number) FROM records WHERE cause = 1)
            WHERE pid = 5;
        ''')


# -------------------------------------------------------------- how it is made

def images(tree, ids):
    """Each is one image with a name and a description, and numbers beside it."""
    for section in tree.iter('section'):
        svgs, tables = list(section.iter('svg')), list(section.iter('table'))
        if len(svgs) > len(tables):
            yield f'{section.get("id")}: no table beside the picture'
        for svg in svgs:
            title, desc = svg[0], svg[1]
            names = svg.get('aria-labelledby', '').split()
            if (title.tag, desc.tag) != ('title', 'desc'):
                yield f'{section.get("id")}: {title.tag}, {desc.tag}'
            if svg.get('role') != 'img' or names != [title.get('id'),
                                                     desc.get('id')]:
                yield f'{section.get("id")}: role or aria-labelledby'
            if len(text_of(title)) < 5 or len(text_of(desc)) < 20:
                yield f'{section.get("id")}: {text_of(title)}'
    for t in tree.iter('table'):
        heads = t.find('thead').find('tr')
        for row in t.find('tbody'):
            width = sum(int(c.get('colspan', 1)) for c in row)
            if width != len(heads):
                yield f'{width} cells under {len(heads)} heads'
        if {h.get('scope') for h in heads} != {'col'}:
            yield 'a head without scope'
    for e in tree.iter():
        for name in e.get('aria-labelledby', '').split():
            if name not in ids:
                yield f'nothing is called {name}'


def well_made(page):
    tree = parse(page)
    ids = [e.get('id') for e in tree.iter() if e.get('id')]
    yield from (f'{i} is there twice' for i, n in
                collections.Counter(ids).items() if n > 1)
    yield from images(tree, ids)
    if not page.startswith(b'<!DOCTYPE html>\n<html lang="en">'):
        yield f'it begins with {page[:60]}'
    for e in tree.iter():
        if e.tag in ('script', 'link', 'img', 'iframe', 'object', 'image',
                     'use', 'foreignObject'):
            yield f'<{e.tag}>'
        yield from (f'{e.tag} {k}' for k in e.keys()
                    if k.startswith('on') or k in ('src', 'style'))
        href = e.get('href')
        if href and (href[0] != '#' or href[1:] not in ids):
            yield f'{href} leads nowhere'
    for word in (b'http:', b'https:', b'//', b'@import', b'url("'):
        if word in page:
            yield f'{word} is in it'
    for word in ('prefers-color-scheme:dark', '@media print'):
        if word not in text_of(tree.find('head').find('style')):
            yield f'{word} is not in its style'
    bad = {c for c in page if c != 10 and not 32 <= c <= 126}
    if bad:
        yield f'bytes {bad}'
    for time in tree.iter('time'):
        if not re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', time.text):
            yield f'a time is {time.text}'


def made():
    """With everything, with step 1 of the schema only, and with nothing."""
    plain = Place(line(**r) for r in drawn(2, 30))
    plain.change('DROP TABLE IF EXISTS kernel; DROP TABLE IF EXISTS deaths; '
                 'DROP TABLE IF EXISTS places')
    with full() as a, plain as b, Place() as c:
        for place, pictures in ((a, 8), (b, 5), (c, 0)):
            page, found = page_of(place)
            yield from found
            yield from well_made(page)
            got = len(list(parse(page).iter('svg')))
            if got != pictures:
                yield f'{got} pictures, not {pictures}'


def patterns():
    """No two fates have the same mark, whatever their colours are."""
    with full() as place:
        page, found = page_of(place)
        yield from found
        marks = []
        for p in parse(page).iter('pattern'):
            marks.append(tuple((e.tag, e.get('d'), e.get('r')) for e in p
                               if e.tag != 'rect'))
        if len(set(marks)) != 5:
            yield f'{len(set(marks))} patterns: {marks}'


# ------------------------------------------------------------ what it says

def logged(place, *words):
    r = bezoar('log', '--json', place.store, *words)
    return [json.loads(l) for l in r.stdout.splitlines()]


def differ(what, got, want):
    for key in {*got, *want}:
        if got.get(key) != want.get(key):
            yield f'{what} {key}: {got.get(key)}, not {want.get(key)}'


def numbers():
    """The tables, and what bezoar log shows of the same store."""
    with full() as place:
        page, found = page_of(place)
        yield from found
        tree, records = parse(page), logged(place)
        if len(records) != 400:
            yield f'{len(records)} records'
        fate = collections.Counter(FATE[r['outcome']['number']]
                                   for r in records)
        rows = list(table(tree, 'timeline').values())
        sums = {i: sum(int(row[i]) for row in rows) for i in range(5)}
        yield from differ('timeline', sums, fate)
        codes = collections.Counter(
            f'O{r["outcome"]["number"]}' if r['outcome']['number'] < 256
            else 'later' for r in records)
        yield from differ('outcome', {
            k: int(v[1]) for k, v in table(tree, 'outcomes').items()}, codes)
        losses = [r for r in records
                  if FATE[r['outcome']['number']] != OTHER]
        regions = collections.Counter(
            f'{r["comm"]}: {r["name"]}' if r['name'] else
            f'{r["comm"]} (no region)' for r in losses)
        yield from differ('region', {
            k: int(v[0]) for k, v in table(tree, 'regions').items()}, regions)
        for key, row in table(tree, 'regions').items():
            if sum(int(n) for n in row[1:5]) != int(row[0]):
                yield f'{key}: {row}'
        yield from places(tree, losses)
        yield from times(tree, records)
        yield from differ('deaths', {
            k: int(v[0]) for k, v in table(tree, 'deaths').items()},
            {'of lost memory': 1, 'of SIGBUS, without a record': 3,
             'of something else': 2, 'nobody could say of what': 1})
        said = ' '.join(t for t in tree.itertext())
        if 'The longest, of SIGBUS, without a record, stands for 3' not in said:
            yield 'which is the longest'
        yield from differ('kernel', {
            k: v[:2] for k, v in table(tree, 'kernel').items()},
            {'poison': ['2', '1'], 'corrected': ['1', '0']})


def places(tree, losses):
    frames, boots = collections.Counter(), collections.defaultdict(set)
    modules = collections.Counter()
    for r in losses:
        number = r['stored']['number']
        if number <= 40:
            modules['CPU0_DIMM_A1' if number % 2 else '(not known)'] += 1
        frame = r['frame'] or (f'{9000 + number % 3:#x}' if number <= 40
                               else None)
        if frame:
            frames[frame] += 1
            boots[frame].add(r['boot_id'])
    got = table(tree, 'frames')
    yield from differ('frame', {k: int(v[0]) for k, v in got.items()}, frames)
    yield from differ('boots', {k: int(v[5]) for k, v in got.items()},
                      {k: len(b) for k, b in boots.items()})
    yield from differ('module', {
        k: int(v[0]) for k, v in table(tree, 'modules').items()}, modules)


def span(word):
    """1.5 ms in ns"""
    number, _, unit = word.partition(' ')
    return float(number) * {'': 0, 'ns': 1, 'us': 1e3, 'ms': 1e6,
                            's': 1e9}[unit]


def times(tree, records):
    took = [r['took_ns'] for r in records
            if FATE[r['outcome']['number']] in (WHOLE, WITHOUT)]
    for words, row in table(tree, 'times').items():
        if ' and more' in words:
            low, high = span(words.partition(' and')[0]), 1e30
        else:
            low, high = (span(w) for w in words.split(' to '))
        want = sum(low <= t < high for t in took)
        if int(row[0]) != want:
            yield f'{words}: {row[0]}, not {want}'
    total = sum(int(row[0]) for row in table(tree, 'times').values())
    if total != len(took):
        yield f'{total} times, not {len(took)}'


def explained():
    """Each code that occurs has its entry, word by word, and no other has."""
    with full() as place:
        page, found = page_of(place)
        yield from found
        tree = parse(page)
        articles = {a.get('id'): ' '.join(text_of(a).split())
                    for a in tree.iter('article')}
        want = {f'O{o}' for o in FATE if o < 256} | {'C1', 'C2', 'C8'}
        if set(articles) != want:
            yield f'{set(articles) ^ want}'
        entries = {e['code']: e for e in map(json.loads, bezoar(
            'explain', '--json').stdout.splitlines())}
        for code, text in articles.items():
            for key in ('happened', 'means', 'now', 'later'):
                if entries[code][key] not in text:
                    yield f'{code}: {entries[code][key]} is not in {text}'


def since():
    """Only what is newer; by the daemon's clock where it can be known."""
    lines = [line(wall=T0), line(wall=T0 + 10 * BILLION),
             line(wall=5, taken=T0 + 10 * BILLION),
             line(wall=T0 + 99 * BILLION, taken=T0 + 10 * BILLION, origin=1),
             line(wall=T0 + 9 * BILLION, taken=T0 + 90 * BILLION, origin=1)]
    with Place(lines) as place:
        page, found = page_of(place, '--since', '2026-11-18T11:06:50Z')
        yield from found
        rows = table(parse(page), 'timeline')
        if rows != {'2026-11-18T11:06:50Z': ['3', '0', '0', '0', '0']}:
            yield f'{rows}'


def spans():
    """A second, and a century: never more bins than there is room for."""
    for seconds in (0, 1, 47, 48, 3600, 86400 * 30, 86400 * 36500):
        at = [line(wall=T0), line(wall=T0 + seconds * BILLION)]
        with Place(at) as place:
            page, found = page_of(place)
            yield from found
            rows = table(parse(page), 'timeline')
            if sum(int(r[0]) for r in rows.values()) != 2:
                yield f'{seconds} s: {rows}'
            if len(re.findall(rb'M[0-9.]+ 260v6', page)) > 12:
                yield f'{seconds} s: too many ticks'


# --------------------------------------------------------------- where it goes

def written():
    with full() as place:
        path, link = place.path('out.html'), place.path('link.html')
        words = ('report', '--store', place.store, '-o')
        yield from expect(bezoar(*words, path), 0, '', '')
        if stat.S_IMODE(os.stat(path).st_mode) != 0o600:
            yield 'others may read a new file'
        os.chmod(path, 0o644)
        os.symlink('out.html', link)
        before = os.stat(path).st_ino
        yield from expect(bezoar(*words, link), 0, '', '')
        if not os.path.islink(link) or os.stat(path).st_ino == before:
            yield 'a link is not followed, or the file was written over'
        if stat.S_IMODE(os.stat(path).st_mode) != 0o644:
            yield 'it does not keep its mode'
        with open(path, 'rb') as file:
            yield from well_made(file.read())
        yield from not_files(place, words)
        yield from links(place, words)
        yield from expect(bezoar(*words, place.path('no/x')), 2, '', 'No such')
        with open(path, 'wb') as file:
            file.write(b'former')
        # the rows come to an end before the table does
        os.truncate(place.store, os.stat(place.store).st_size // 2)
        yield from expect(bezoar(*words, path), 2, '', 'malformed')
        with open(path, 'rb') as file:
            if file.read() != b'former':
                yield 'a page that failed took the place of the former one'
        left = set(os.listdir(place.folder.name)) - {
            'out.html', 'link.html', 'records.db', 'records.db-shm',
            'records.db-wal'}
        if left:
            yield f'{left} is left'


def links(place, words):
    """A link that leads nowhere yet; other names of a file; standard output by name."""
    os.mkdir(place.path('sub'))
    os.symlink('sub/next', place.path('dangling'))
    os.symlink('new.html', place.path('sub/next'))
    os.symlink('loop', place.path('loop'))
    yield from expect(bezoar(*words, place.path('dangling')), 0, '', '')
    if sorted(os.listdir(place.path('sub'))) != ['new.html', 'next']:
        yield f'not through the link: {os.listdir(place.path("sub"))}'
    if not os.path.islink(place.path('dangling')):
        yield 'the link was replaced'
    yield from expect(bezoar(*words, place.path('loop')), 2, '', 'symbolic links')
    os.link(place.path('sub/new.html'), place.path('sub/other.html'))
    yield from expect(bezoar(*words, place.path('sub/new.html')), 0, '', '')
    if os.stat(place.path('sub/new.html')).st_nlink != 2:
        yield 'the other name of the file has the former page'
    with open(place.path('sub/all'), 'wb') as file:
        file.write(b'before\n')
        file.flush()
        subprocess.run([BEZOAR, *words, '/dev/stdout'], env=ENV, check=True, stdout=file)
    with open(place.path('sub/all'), 'rb') as file:
        got = file.read()
    if not got.startswith(b'before\n') or not got.endswith(b'</html>\n'):
        yield 'standard output by name was written over'
    shutil.rmtree(place.path('sub'))
    os.unlink(place.path('dangling'))
    os.unlink(place.path('loop'))


def not_files(place, words):
    """What is no file is written to, and stays what it is."""
    with open('/dev/full', 'wb') as full_:
        r = subprocess.run([BEZOAR, *words, '-'], env=ENV, check=False,
                           stdout=full_, stderr=subprocess.PIPE)
    if r.returncode != 2 or b'No space' not in r.stderr:
        yield f'a full disk: {r.returncode}, {r.stderr}'
    fifo = place.path('fifo')
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    # more than a pipe holds would have to be read meanwhile
    if fcntl.fcntl(end, F_SETPIPE_SZ, 1 << 20) < 1 << 20:
        yield 'no pipe of a megabyte'
    yield from expect(bezoar(*words, fifo), 0, '', '')
    if not stat.S_ISFIFO(os.stat(fifo).st_mode):
        yield 'a FIFO was replaced'
    elif not os.read(end, 1 << 20).endswith(b'</html>\n'):
        yield 'the page is not in the FIFO'
    os.close(end)
    os.unlink(fifo)


def refused():
    with Place() as place:
        none = place.path('none\x1b.db')
        out = place.path('x.html')
        yield from expect(bezoar('report', '--store', none, '-o', out), 2, '',
                          r'none\\x1b.db: No such file.*Name the store')
        with open(none, 'wb') as file:
            file.write(b'not a database, but long enough for one')
        yield from expect(bezoar('report', '--store', none, '-o', out), 2, '',
                          'no store of bezoard')
        yield from expect(bezoar('report', '--store', place.store), 2, '',
                          'where to')
        yield from expect(bezoar('report', '-o', out, 'x'), 2, '', 'too many')
        yield from expect(bezoar('report', '-o', out, '--since', 'now'), 2, '',
                          'no time')
        yield from expect(bezoar('report', '--help'), 0, 'bezoar report')
        place.change("UPDATE meta SET value = 999 WHERE key = 'schema'")
        yield from expect(bezoar('report', '--store', place.store, '-o', out),
                          2, '', 'newer version')
        if os.path.exists(out):
            yield 'there is a page'


def damaged():
    """A row that is no record is said, and left out."""
    with Place([line(), line(outcome=129)]) as place:
        place.change("UPDATE records SET raw = x'00' WHERE number = 1")
        r = bezoar('report', '--store', place.store, '-o', '-')
        yield from expect(r, 1, '1 rows are no whole record',
                          '1 rows are no whole')
        rows = table(parse(r.stdout), 'outcomes')
        if list(rows) != ['O129']:
            yield f'{rows}'


def memory_of(place):
    pid = os.posix_spawn(BEZOAR, [BEZOAR, 'report', '--store', place.store,
                                  '-o', place.path('x.html')], ENV)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss


def many():
    """As many regions, frames and programs as records: the page stays small."""
    lines = (line(wall=T0 + i * BILLION, frame=i, name=b'%d' % i,
                  comm=b'%d' % (i % 1000)) for i in range(60000))
    with Place([line()]) as few, Place(lines) as place:
        (_, least), (status, most) = memory_of(few), memory_of(place)
        if status:
            yield f'status {status}'
        if 'sanitized' not in sys.argv and most - least > MOST_MEMORY:
            yield f'{most - least} KiB more'
        with open(place.path('x.html'), 'rb') as file:
            page = file.read()
        if len(page) > 100000:
            yield f'{len(page)} bytes'
        rows = table(parse(page), 'regions')
        if rows.get('59988 others', [])[:1] != ['59988'] or len(rows) != 13:
            yield f'{rows}'


def main():
    tap = Tap()
    for check in (made, patterns, numbers, explained, since, spans, written,
                  refused, damaged, many):
        tap.case(check.__name__, found_by(check))
    tap.end()


if __name__ == '__main__':
    main()
