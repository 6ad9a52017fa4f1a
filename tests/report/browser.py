#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The page of bezoar report in a browser that has no window.

    browser.py BEZOAR STORE ROOT [FOLDER]

With FOLDER the screenshots are left there, for who wants to look at them.
"""
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib

from common import Place, Tap, bezoar, line, page_of, parse
from page import full

PAPER = {'light': (0xff, 0xff, 0xff), 'dark': (0x0d, 0x11, 0x17)}
SCHEME = {'light': 1, 'dark': 0}        # of Chromium's settings
SECONDS = 10 * int(os.environ.get('TAP_PATIENCE', '1'))
TRIES = 3


class Silent(Exception):
    """It has not even begun: that is nothing of the page's."""


def chromium(place, *words):
    """(output, what it has said). Now and then it hangs, or ends, at its start."""
    for number in range(TRIES):
        with subprocess.Popen(
                [shutil.which('chromium'), '--headless', '--no-sandbox',
                 '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
                 f'--user-data-dir={place.path(f"profile{number}")}',
                 '--hide-scrollbars', '--enable-logging=stderr', *words,
                 f'file://{place.path("x.html")}'], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True) as run:
            try:
                answer = run.communicate(timeout=SECONDS)
                if not run.returncode:
                    return answer
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
    raise Silent(f'Chromium did not answer, {TRIES} times {SECONDS} s')


def complaints(said):
    """What the page itself has made it say."""
    yield from (l for l in said.decode(errors='replace').splitlines()
                if 'CONSOLE' in l)


def corner(path):
    """(width, height, first pixel) of a picture of 8 bits a colour."""
    with open(path, 'rb') as file:
        png = file.read()
    width, height, depth, kind = struct.unpack('>IIBB', png[16:26])
    data, at = b'', 8
    while at < len(png):
        length = struct.unpack('>I', png[at:at + 4])[0]
        if png[at + 4:at + 8] == b'IDAT':
            data += png[at + 8:at + 8 + length]
        at += length + 12
    if depth != 8 or kind not in (2, 6):
        return width, height, None
    # whatever its filter is: there is nothing before it
    return width, height, tuple(zlib.decompress(data)[1:4])


def understood(place):
    """What it has made of the page has all elements of it, and no others."""
    dom, said = chromium(place, '--dump-dom')
    yield from complaints(said)
    with open(place.path('x.html'), 'rb') as file:
        tree = parse(file.read())
    for tag in ('svg', 'title', 'desc', 'rect', 'table', 'tr', 'section', 'a',
                'pattern'):
        want = sum(1 for _ in tree.iter(tag))
        got = len(re.findall(rf'<{tag}[ >]'.encode(), dom))
        if got != want:
            yield f'{got} of <{tag}>, not {want}'


# What it is asked of every label, of a copy that lets it: where it begins.
SCRIPT = b'''<script>
document.title = [...document.querySelectorAll('svg text.end')].map(
  t => Math.floor(t.getBBox().x) + ' ' + Math.ceil(t.getBBox().width)).join(',');
</script></body>'''
# Modules as EDAC names them, regions with the widest letters and the narrowest ones.
LABELS = ('CPU_SrcID#0_MC#0_Chan#0_DIMM#0', 30 * 'W', 15 * 'm#', 90 * '@', 40 * 'M',
          30 * 'i', 'index')


def labels(_):
    """All of each is to be seen, left of the bars, and none is drawn out for that."""
    with Place([line(comm=b'a', name=n[:28].encode()) for n in LABELS]) as place:
        place.change(';'.join(f"INSERT INTO places VALUES ({i}, {i}, '{n}')"
                              for i, n in enumerate(LABELS, 1)))
        page, found = page_of(place)
        yield from found
        with open(place.path('x.html'), 'wb') as file:
            file.write(re.sub(b'<meta http-equiv[^>]*>', b'', page).replace(
                b'</body>', SCRIPT))
        dom, _ = chromium(place, '--dump-dom', '--window-size=1280,900')
    title = re.search(rb'<title>([^<]*)</title>', dom).group(1).decode()
    at = [tuple(int(n) for n in t.split()) for t in title.split(',')]
    if len(at) < 2 * len(LABELS):
        yield f'labels: {title}'
    yield from (f'a label begins at {x}, and is {w} wide' for x, w in at if x < 0)
    # of a name of five letters, and of one of narrow ones
    if min(w for _, w in at) > 60 or sum(w < 180 for _, w in at) < 3:
        yield f'drawn out: {title}'


def shown(place, scheme, name, width, height):
    _, said = chromium(place, f'--screenshot={place.path(name)}',
                       f'--window-size={width},{height}',
                       '--blink-settings=preferredColorScheme='
                       f'{SCHEME[scheme]}')
    yield from complaints(said)
    if not os.path.exists(place.path(name)):
        yield f'no picture: {said[-500:]}'
        return
    if sys.argv[4:]:
        shutil.copy(place.path(name), sys.argv[4])
    got = corner(place.path(name))
    if got != (width, height, PAPER[scheme]):
        yield f'{name}: {got}'
    if os.stat(place.path(name)).st_size < 20000:
        yield f'{name}: there is hardly anything in it'


def main():
    tap = Tap()
    if not shutil.which('chromium'):
        tap.skip('in a browser', 'chromium is not installed')
        tap.end()
    with full() as place:
        bezoar('report', '--store', place.store, '-o', place.path('x.html'))
        for name, check, *words in (
                ('it is understood', understood),
                ('long labels', labels),
                ('light', shown, 'light', 'light.png', 1280, 3600),
                ('dark', shown, 'dark', 'dark.png', 1280, 3600),
                ('a narrow window', shown, 'light', 'narrow.png', 500, 3600)):
            try:
                tap.case(name, list(check(place, *words)))
            except Silent as e:
                tap.skip(name, str(e))
    tap.end()


main()
