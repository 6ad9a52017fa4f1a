#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Names of strangers, through every form of output: they are shown, byte for byte
in a form that can be read back, and do nothing.

    names.py BEZOAR STORE ROOT
"""
import json
import re

from common import (Place, T0, Tap, bezoar, found_by, line, page_of, parse,
                    text_of)

NAMES = {
    'colour and title of a terminal': b'\x1b[31m\x1b]0;x\x07',
    'C1 control': b'\x9b2Jx\x90q\x9c',
    'a line of its own': b'x\nO1 ok\r\n',
    'backspace, tab, form feed': b'a\x08\t\x0c\x0bb',
    'delete': b'a\x7f',
    'begins a tag': b'<b>x</b>',
    'begins a script': b'<script>a</script'[:15],
    'ends the style': b'</style><p>',
    'ends an attribute': b'" onload="x',
    'ends another': b"' x='&quot;",
    'an entity': b'&lt;&amp;&#x41;',
    'a comment': b'<!--x-->]]>',
    'ends a string of JSON': b'"},{"x":"y',
    'backslashes': b'\\\\x41\\n\\',
    'a format': b'%s%n%1$n%99c',
    'valid UTF-8': 'ıİß€'.encode(),
    'right to left': '\u202eabc'.encode(),
    'not UTF-8': b'\xff\xfe\x80\xc3',
    'too long UTF-8': b'\xc0\xaf\xe0\x80\xaf',
    'a surrogate': b'\xed\xa0\x80',
    'cut in a character': b'abc\xe2\x82',
    'empty': b'',
    'only blanks': b'   ',
    'as long as can be': b'<' * 15,
}
PLAIN = b'plain'
FIELDS = ('comm', 'name', 'cgroup')


def escaped(name):
    """As bezoar(1) says under Names."""
    return ''.join('\\' + chr(c) if c in b'"\\' else
                   chr(c) if 32 <= c <= 126 else f'\\x{c:02x}' for c in name)


def store(name):
    """With this name in all places that a stranger has a say in."""
    fields = {f: name for f in FIELDS}
    h = name.hex()
    return Place([line(**fields), line(kind='forged', **fields),
                  line(kind='other', **fields)], f'''
        INSERT INTO places VALUES (1, 5, CAST(x'{h}' AS TEXT));
        INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, frame, dimm,
            pid, text) VALUES ({T0}, x'00', 1, {T0}, CAST(x'{h}' AS TEXT), 5,
            CAST(x'{h}' AS TEXT), 0, x'{h}');
        INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, status,
            told) VALUES ({T0}, x'00', 5, 1, 1000, x'{h}', 7, 3);
        UPDATE apart SET why = CAST(x'{h}' AS TEXT) WHERE why = 'forged';
        ''')


def harmless(what, bytes_):
    bad = {c for c in bytes_ if c != 10 and not 32 <= c <= 126}
    if bad:
        yield f'{what}: bytes {bad} in {bytes_[:300]}'


def forms(place):
    """What each form of output is called with."""
    for words in (('log',), ('log', '--json'), ('log', '--apart'),
                  ('log', '--apart', '--json')):
        yield ' '.join(words), (*words, place.store)
    yield 'explain R1', ('explain', 'R1', place.store)
    yield 'explain R1 --json', ('explain', '--json', 'R1', place.store)


def as_text(place, name, lines):
    """No line more than with a plain name, nothing but plain characters."""
    for what, words in forms(place):
        r = bezoar(*words)
        if r.returncode or r.stderr:
            yield f'{what}: status {r.returncode}, {r.stderr}'
        yield from harmless(what, r.stdout)
        if r.stdout.count(b'\n') != lines[what]:
            yield f'{what}: {r.stdout.count(10)} lines, not {lines[what]}'
        if '--json' in what:
            yield from as_json(what, r.stdout, name)
    text = bezoar('log', place.store).stdout.decode()
    # up to a NUL, which none of them has
    for want in (f' "{escaped(name)}", thread', f'cgroup "{escaped(name)}"',
                 f'region "{escaped(name)}" +'):
        if want not in text and (name or 'region' not in want):
            yield f'{want} is not in {text}'


def as_json(what, out, name):
    for text in out.splitlines():
        entry = json.loads(text)
        if 'code' in entry:
            continue
        record = entry.get('record', entry)
        for field in FIELDS if record else ():
            if record[field] != escaped(name):
                yield f'{what}: {field} is {record[field]}'
        if 'apart' in entry and entry['apart']['why'] not in (
                escaped(name), 'version'):
            yield f'{what}: {entry["apart"]}'


def skeleton(page):
    """All tags with their attributes, but for numbers, and for how wide a long name is to
    be; no text."""
    return [(e.tag, re.sub(rb'[0-9.]+', b'0', repr(
        {k: v for k, v in e.attrib.items()
         if (k, v) not in (('textLength', '232'), ('lengthAdjust', 'spacingAndGlyphs'))
         }).encode())) for e in parse(page).iter()]


def as_page(place, name, bones):
    """The same elements as with a plain name, and the name as text in them."""
    page, found = page_of(place)
    yield from found
    yield from harmless('page', page)
    if skeleton(page) != bones:
        yield 'the page is made of other elements'
    text = text_of(parse(page))
    for want in (f'{escaped(name)}: {escaped(name)}' if name else
                 ' (no region)', escaped(name)):
        if want not in text:
            yield f'{want} is not in the page'


def main():
    tap = Tap()
    with store(PLAIN) as place:
        bones = skeleton(page_of(place)[0])
        lines = {what: bezoar(*words).stdout.count(b'\n')
                 for what, words in forms(place)}
    for what, name in NAMES.items():
        with store(name) as place:
            # SQLite keeps text as it is, valid or not
            tap.case(what, [*found_by(as_text, place, name, lines),
                            *found_by(as_page, place, name, bones)])
    tap.end()


main()
