# SPDX-License-Identifier: MIT
"""What the tests of this folder share: stores, the program, the page read strictly.

Each is called TEST BEZOAR STORE ROOT [WORD]...; STORE is the program of store.c.
"""
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

BEZOAR, STORE, ROOT = (os.path.abspath(w) for w in sys.argv[1:4])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402,F401 pylint: disable=wrong-import-position,unused-import

BILLION = 10 ** 9
T0 = 1795000000 * BILLION       # 2026-11-18T11:06:40Z
ENV = {k: v for k, v in os.environ.items()
       if k not in ('NO_COLOR', 'TERM', 'LANG') and not k.startswith('LC_')}
ENV.update(LC_ALL='C', TZ='Asia/Tokyo')         # which nobody is to see

# What step 2 of the schema adds, for stores that have it.
STEP_2 = '''
CREATE TABLE IF NOT EXISTS kernel (number INTEGER PRIMARY KEY AUTOINCREMENT,
 taken INTEGER NOT NULL, boot_id BLOB NOT NULL, seq INTEGER NOT NULL,
 wall_ns INTEGER NOT NULL, kind TEXT NOT NULL, frame INTEGER NOT NULL,
 dimm TEXT NOT NULL, pid INTEGER NOT NULL, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deaths (number INTEGER PRIMARY KEY AUTOINCREMENT,
 taken INTEGER NOT NULL, boot_id BLOB NOT NULL, pid INTEGER NOT NULL,
 start_ticks INTEGER NOT NULL, uid INTEGER NOT NULL, comm BLOB NOT NULL,
 status INTEGER NOT NULL, told INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS places (record INTEGER PRIMARY KEY,
 frame INTEGER NOT NULL, dimm TEXT NOT NULL);
'''


def line(kind='record', wall=T0, taken=None, origin=0, outcome=1, why=0,
         cause=1, took=5000, frame=-1, boot=7, pid=77, comm=b'shop',
         name=b'the table', cgroup=b'/system.slice', addr=0x1000):
    names = [n.hex() or '-' for n in (comm, name, cgroup)]
    return ' '.join(str(w) for w in (
        kind, wall, wall if taken is None else taken, origin, outcome, why,
        cause, took, frame, boot, pid, *names, f'{addr:x}'))


class Place:
    """A folder for one case, and a store in it."""

    def __init__(self, lines=(), sql=None):
        self.folder = tempfile.TemporaryDirectory(prefix='bezoar-report-')
        self.store = self.path('records.db')
        subprocess.run([STORE, self.store], check=True,
                       input='\n'.join([*lines, '']).encode())
        if sql is not None:
            self.change(STEP_2)
            self.change(sql)

    def change(self, sql):
        db = sqlite3.connect(self.store)
        db.executescript(sql)
        db.close()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()


def bezoar(*words, env=None, **more):
    return subprocess.run([BEZOAR, *words], env={**ENV, **(env or {})},
                          check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)


def page_of(place, *words):
    """The page, on standard output, and what is wrong with that."""
    r = bezoar('report', '--store', place.store, '-o', '-', *words)
    found = []
    if r.returncode or r.stderr:
        found.append(f'status {r.returncode}: {r.stderr.decode()}')
    return r.stdout, found


def expect(result, status, out=None, err=None):
    if result.returncode != status:
        yield f'status {result.returncode}, not {status}: {result.stderr}'
    for got, want in ((result.stdout, out), (result.stderr, err)):
        if want == '' and got:
            yield f'something was printed: {got[:200]}'
        elif want and not re.search(want.encode(), got):
            yield f'{want} is not in {got[:600]}'


def found_by(check, *args):
    """What is wrong, up to where the case itself could not go on."""
    try:
        yield from check(*args)
    except Exception as e:  # pylint: disable=broad-except
        place = e.__traceback__
        while place.tb_next:
            place = place.tb_next
        yield f'line {place.tb_lineno}: {type(e).__name__}: {e}'


def parse(page):
    """As XML, which lets nothing pass that HTML would guess about."""
    return xml.etree.ElementTree.fromstring(page)


def text_of(element):
    return ''.join(element.itertext())


def table(tree, name):
    """{first cell: [the others]} of the table whose caption has this id."""
    for t in tree.iter('table'):
        if t.find('caption').get('id') == f'{name}-c':
            rows = [[text_of(c) for c in row]
                    for row in t.find('tbody').iter('tr')]
            return {row[0]: row[1:] for row in rows}
    return None
