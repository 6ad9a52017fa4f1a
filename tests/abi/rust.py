#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""What docs/vmm.md writes down for Rust is what <bezoar/vmm.h> has.

rust.py --header VMM.H --docs VMM.MD [--rustc RUSTC]: structs member by member, and
functions parameter by parameter; with a compiler it is compiled, too.
"""
import argparse
import os
import re
import subprocess
import tempfile

from tap import Tap

COMMENT = re.compile(r'/\*.*?\*/', re.S)
TYPES = {
    'uint64_t': 'u64', 'uint32_t': 'u32', 'uint16_t': 'u16', 'int32_t': 'i32',
    'int': 'c_int', 'size_t': 'usize', 'void *': '*mut c_void',
    'const void *': '*const c_void', 'struct bez_vm *': '*mut Vm',
    'struct bez_vcpu *': '*mut Vcpu', 'struct bez_vm **': '*mut *mut Vm',
    'struct bez_vcpu **': '*mut *mut Vcpu',
    'const struct bez_vm_options *': '*const Options',
    'const struct bez_policy *': '*const c_void',
    'bez_vm_kick_fn':
        'Option<unsafe extern "C" fn(*mut Vcpu, *mut c_void)>',
    'bez_vm_event_fn':
        'Option<unsafe extern "C" fn(*const Event, *mut c_void)>',
    'bez_vm_wrote_fn':
        'Option<unsafe extern "C" fn(*mut Vm, u64, u64, *mut c_void)>',
}
SAME = {'c_int': 'i32'}
STRUCTS = {'Options': 'bez_vm_options', 'Event': 'bez_vm_event'}
ELSEWHERE = {'bez_start'}		# of <bezoar/bezoar.h>


def split_c(text):
    """'const struct x *name' is ('const struct x *', 'name')."""
    kind, name = re.fullmatch(r'(.*?)(\w+)', ' '.join(text.split())).groups()
    return re.sub(r'\s*(\*+)$', r' \1', kind.strip()), name


def rust_of(kind):
    return TYPES.get(kind, f'what is "{kind}"?')


def c_members(header, name):
    body = re.search(rf'^struct {name} \{{(.*?)^\}};', header, re.M | re.S)
    for member in body.group(1).split(';')[:-1]:
        kind, names = re.fullmatch(r'(.*?[\s*])(\w+(?:, \w+)*)',
                                   ' '.join(member.split())).groups()
        for one in names.split(', '):
            kind_of, name_of = split_c(kind + one)
            yield name_of, rust_of(kind_of)


def rust_members(code, name):
    body = re.search(rf'^pub struct {name} \{{(.*?)^\}}', code, re.M | re.S)
    text = re.sub(r'//[^\n]*', '', body.group(1))
    return re.findall(r'pub (\w+): (.*?),\s*\n', text)


def c_function(header, name):
    found = re.search(rf'^(\w+) {name}\((.*?)\);', header, re.M | re.S)
    if not found:
        return None
    return [rust_of(split_c(p)[0]) for p in found.group(2).split(',')] + [
        rust_of(found.group(1))]


def same(a, b):
    return SAME.get(a, a) == SAME.get(b, b)


def structs(header, code):
    for ours, theirs in STRUCTS.items():
        here, there = rust_members(code, ours), list(c_members(header, theirs))
        if [n for n, _ in here] != [n for n, _ in there]:
            yield f'{ours} has {[n for n, _ in here]}, {theirs} {there}'
            continue
        for (name, kind), (_, must) in zip(here, there):
            if not same(kind, must):
                yield f'{ours}.{name} is {kind}, must be {must}'


def functions(header, code):
    found = re.findall(r'^    fn (\w+)\((.*?)\) -> (\w+);', code, re.M | re.S)
    if not found:
        yield 'there are none'
    for name, params, ret in found:
        here = [p.split(': ', 1)[1] for p in params.split(',')] + [ret]
        there = None if name in ELSEWHERE else c_function(header, name)
        if not there:
            if name not in ELSEWHERE:
                yield f'{name} is not in the header'
        elif len(here) != len(there) or not all(map(same, here, there)):
            yield f'{name} has {here}, must have {there}'


def compiled(rustc, code):
    said = subprocess.run([rustc, '--version'], capture_output=True, text=True)
    major, minor = map(int, re.search(r'(\d+)\.(\d+)', said.stdout).groups())
    if (major, minor) < (1, 82):
        code = code.replace('unsafe extern "C" {', 'extern "C" {')
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, 'vmm.rs')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('#![allow(dead_code)]\n' + code)
        done = subprocess.run(
            [rustc, '--edition', '2021', '--crate-type', 'lib', '--emit',
             'metadata', '-D', 'warnings', '--out-dir', work, path],
            capture_output=True, text=True)
    return [done.stderr] if done.returncode else []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--header', required=True)
    parser.add_argument('--docs', required=True)
    parser.add_argument('--rustc')
    args = parser.parse_args()

    with open(args.header, encoding='utf-8') as file:
        header = COMMENT.sub('', file.read())
    with open(args.docs, encoding='utf-8') as file:
        code = re.search(r'^```rust\n(.*?)^```', file.read(),
                         re.M | re.S).group(1)
    tap = Tap()
    tap.case('structs', structs(header, code))
    tap.case('functions', functions(header, code))
    if args.rustc:
        tap.case('it compiles', compiled(args.rustc, code))
    else:
        tap.skip('it compiles', 'there is no rustc')
    tap.end()


main()
