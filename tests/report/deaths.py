#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Of what processes have died, by the page of bezoar report: as bezoar run would say.

    deaths.py BEZOAR STORE ROOT
"""
import re

from common import T0, Place, Tap, found_by, line, page_of, parse, table, text_of

MEMORY, SILENT = 'of lost memory', 'of SIGBUS, without a record'
ELSE, UNKNOWN = 'of something else', 'nobody could say of what'
DEFAULT, FOREIGN, BEGUN, SHUTDOWN = 129, 128, 20, 131
AR, ADRERR, CUT, SENT = 1, 3, 8, 5

# outcome, cause, is it in a region; status; of what
DEATHS = (
    (DEFAULT, AR, 1, 7, MEMORY),
    (DEFAULT, AR, 1, 7 | 128, MEMORY),
    (DEFAULT, AR, 1, 135 << 8, MEMORY),
    (FOREIGN, AR, 0, 7, MEMORY),
    # without memory failure, emulation looks like a file's trouble
    (DEFAULT, ADRERR, 1, 7, MEMORY),
    (DEFAULT, ADRERR, 1, 135 << 8, MEMORY),
    (FOREIGN, ADRERR, 0, 7, ELSE),
    # in good order, by whatever status
    (SHUTDOWN, AR, 1, 0, MEMORY),
    (SHUTDOWN, ADRERR, 1, 1 << 8, MEMORY),
    (BEGUN, AR, 1, 6, MEMORY),
    (SHUTDOWN, AR, 1, -1, MEMORY),
    (SHUTDOWN, CUT, 1, 1 << 8, ELSE),
    # what was survived is no reason
    (DEFAULT, AR, 1, 11, ELSE),
    (DEFAULT, AR, 1, 1 << 8, ELSE),
    (DEFAULT, AR, 1, -1, UNKNOWN),
    (DEFAULT, CUT, 1, 7, ELSE),
    (FOREIGN, SENT, 0, 7, ELSE),
    (None, None, 0, 7, SILENT),
    (None, None, 0, 135 << 8, SILENT),
    (None, None, 0, 11, ELSE),
    (None, None, 0, -1, UNKNOWN),
)


def page(deaths):
    """The tree of it, and what is wrong."""
    records, rows = [], []
    for outcome, cause, region, status, _ in deaths:
        if outcome is not None:
            records.append(line(outcome=outcome, cause=cause,
                                name=b'index' if region else b''))
        told = len(records) if outcome is not None else 0
        rows.append(f"({T0}, x'00', 5, 1, 1000, 'shop', {status}, {told})")
    with Place(records, 'INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, '
               f'status, told) VALUES {", ".join(rows)}') as place:
        text, wrong = page_of(place)
        return parse(text), wrong


def counts(tree):
    return {k: int(v[0]) for k, v in table(tree, 'deaths').items()}


def each():
    for death in DEATHS:
        tree, wrong = page([death])
        yield from (f'{death}: {w}' for w in wrong)
        got = [k for k, n in counts(tree).items() if n]
        if got != [death[4]]:
            yield f'{death}: {got}'


def agrees():
    """Who died of losses alone has died of as many as there were."""
    deaths = [d for d in DEATHS if d[4] == MEMORY and d[0] != FOREIGN]
    tree, wrong = page(deaths)
    yield from wrong
    said = re.search(r'(\d+) of them are of a loss', text_of(tree))
    if int(said.group(1)) != len(deaths) or counts(tree)[MEMORY] != len(deaths):
        yield f'{said.group()}, and {counts(tree)}'


def gone():
    """Its record was retired, or is none."""
    for change in ('DELETE FROM records', "UPDATE records SET raw = x'00'"):
        with Place([line(outcome=DEFAULT)], 'INSERT INTO deaths (taken, boot_id, pid, '
                   'start_ticks, uid, comm, status, told) VALUES '
                   f"({T0}, x'00', 5, 1, 1000, 'shop', 7, 1); {change}") as place:
            got = counts(parse(page_of(place)[0]))
            if got[SILENT] != 1 or sum(got.values()) != 1:
                yield f'{change}: {got}'


def main():
    tap = Tap()
    for check in (each, agrees, gone):
        tap.case(check.__name__, found_by(check))
    tap.end()


main()
