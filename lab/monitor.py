#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Run a machine, and raise the machine checks in it that its guest asks for.

	monitor.py QEMU ARGUMENT...

becomes QEMU, with two more devices: a monitor, and a serial line on which the
guest asks. A child answers there; it ends when the machine does, however that
ends, as both are sockets without a name whose other end nobody else has.

A request is a line, its numbers are hexadecimal; the answer is the request's number
and "ok", or "no" and the reason:

	mce NUMBER KIND CPU PHYS LO HI [FROM TO]

raises a machine check of that KIND (see KINDS) on a processor, about a physical
address, while the instruction pointer is in LO to HI: in user mode, or in the
kernel if LO is there. With FROM and TO, RSI has to be there too: what a copy is
reading; and in the kernel the instruction has to be one that reads there, as a kernel
lives on only at those. LO and HI of 0 are anywhere, which is for what requires no action: in
the wrong place the guest would panic. The NUMBER is the asker's, who may be killed
while this still tries: the next one has to know its own answer by it. Where there
is none it is "-".
"""
import json
import os
import re
import socket
import sys
import time

KERNEL = 0xffff800000000000
TRIES = 4000
SECONDS = 60

# Status of the bank, MCG_STATUS, and whether all processors are told. Bank 9
# and MISC (a physical address, to 12 bits) as QEMU has them for its guests.
KINDS = {
    'load': (0xbd80000000000134, 0x7, True),    # action required, data load
    'local': (0xbd80000000000134, 0xf, False),  # the same; this processor's own
    'fetch': (0xbd80000000000150, 0x7, True),   # the same, instruction fetch
    'norip': (0xbd80000000000134, 0x6, True),   # the same, RIPV clear
    'optional': (0xbd000000000000c0, 0x5, True),  # found by a scrubber
    'ucna': (0xbc00000000000090, 0xd, False),   # deferred: told by polling
    'corrected': (0x9c00000000000090, 0x0, False),  # nothing is lost
}
# REP MOVSB, MOVSL and MOVSQ; MOV from (%rsi) to a register.
READS = tuple(map(bytes.fromhex, ('f3a4', 'f3a5', 'f348a5', '488b06', '4c8b06',
                                  '8a06')))
ANYWHERE = ('optional', 'ucna', 'corrected')
BANK, MISC = 9, 0x8c


class Refused(Exception):
    """Why a request was not met."""


class Monitor:
    """QEMU's, in its machine-readable form."""

    def __init__(self, sock):
        self.file = sock.makefile('rw', encoding='ascii', newline='\n')
        self.read()                              # the greeting
        self.run('qmp_capabilities')

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def run(self, command, **arguments):
        self.file.write(json.dumps({'execute': command,
                                    'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            answer = self.read()
            if 'error' in answer:
                raise Refused(f'{command}: {answer["error"].get("desc")}')
            if 'return' in answer:
                return answer['return']          # what else comes are events

    def human(self, line, cpu):
        return self.run('human-monitor-command',
                        **{'command-line': line, 'cpu-index': cpu})

    def registers(self, cpu):
        """The level of privilege, RIP and RSI of a processor that stands."""
        text = self.human('info registers', cpu)
        found = [re.search(rf'\b{name}\s*=\s*([0-9a-f]+)', text)
                 for name in ('CPL', 'RIP', 'RSI')]
        if not all(found):
            raise Refused('info registers: not understood')
        return [int(f.group(1), 16) for f in found]

    def reads(self, cpu, at):
        """Does the instruction there read what RSI says?"""
        text = self.human(f'x /3xb {at:#x}', cpu)
        found = re.findall(r'\b0x([0-9a-f]{2})\b', text.partition(':')[2])
        return bytes.fromhex(''.join(found)).startswith(READS)


def is_number(word):
    return re.fullmatch('[0-9a-f]{1,16}', word)


class Request:
    """A line of the guest's."""

    def __init__(self, line):
        words = line.split()
        if len(words) not in (7, 9) or words[0] != 'mce':
            raise Refused('not understood')
        self.kind = words[2]
        try:
            if not all(map(is_number, words[3:])):
                raise ValueError
            (self.cpu, self.phys, self.low, self.high, self.from_,
             self.to) = [int(w, 16) for w in (words[3:] + ['0', '0'])[:6]]
        except ValueError:
            raise Refused('not understood') from None
        if self.kind not in KINDS:
            raise Refused(f'no such kind: {self.kind}')
        if self.low == self.high == 0:
            if self.kind not in ANYWHERE:
                raise Refused('action required, and no place')
        elif self.low >= self.high:
            raise Refused('an empty range')
        if len(words) == 9 and self.from_ >= self.to:
            raise Refused('an empty range')

    def in_kernel(self):
        return self.low >= KERNEL

    def is_there(self, level, rip, rsi):
        if not self.high:
            return True
        return (level == (0 if self.in_kernel() else 3) and
                self.low <= rip < self.high and
                (not self.to or self.from_ <= rsi < self.to))

    def command(self):
        status, mcg_status, everywhere = KINDS[self.kind]
        return (f'mce {"-b " if everywhere else ""}{self.cpu} {BANK} '
                f'{status:#x} {mcg_status:#x} {self.phys:#x} {MISC:#x}')


def serve(monitor, request):
    """Stop the machine where the request wants it, and raise the check."""
    last = time.monotonic() + SECONDS
    seen = None
    for tries in range(TRIES):
        monitor.run('stop')
        try:
            seen = monitor.registers(request.cpu)
            if request.is_there(*seen) and (
                    not request.in_kernel() or
                    monitor.reads(request.cpu, seen[1])):
                said = monitor.human(request.command(), request.cpu).strip()
                if said:
                    raise Refused(' '.join(said.split()))
                return
        finally:
            monitor.run('cont')
        if time.monotonic() > last:
            break
        # Let it run on: a little longer each time, so as not to fall in step; and
        # longer still if it may not get to run at all, on a busy machine.
        time.sleep(0.0005 * (1 + tries % 7) * (1 + tries // 100))
    level, rip, rsi = seen
    raise Refused(f'never there in {tries + 1} tries: at last at level {level},'
                  f' {rip:x}, rsi {rsi:x}')


def answer(monitor, line):
    words = line.split()
    number = words[1] if len(words) > 1 and is_number(words[1]) else '-'
    try:
        serve(monitor, Request(line))
        return f'{number} ok'
    except Refused as refused:
        return f'{number} no {refused}'


def mediate(ask, control):
    monitor = Monitor(control)
    lines = ask.makefile('r', encoding='ascii', errors='replace', newline='\n')
    for line in iter(lines.readline, ''):
        ask.sendall((answer(monitor, line) + '\n').encode())


def main(words):
    ask, asked = socket.socketpair()
    control, controlled = socket.socketpair()
    if not os.fork():
        for theirs in (asked, controlled):
            theirs.close()
        # The report is the machine's alone: who reads it waits for its end.
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        try:
            mediate(ask, control)
        except (EOFError, OSError):
            pass                                 # the machine is gone
        os._exit(0)
    for theirs in (asked, controlled):
        theirs.set_inheritable(True)
    # A line of its own for the interrupt, too: the serial lines share theirs.
    os.execvp(words[0], words + [
        '-chardev', f'socket,id=control,fd={controlled.fileno()}',
        '-mon', 'chardev=control,mode=control',
        '-chardev', f'socket,id=ask,fd={asked.fileno()}',
        '-device', 'isa-serial,chardev=ask,index=2,irq=5'])


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit('usage: monitor.py QEMU ARGUMENT...')
    main(sys.argv[1:])
