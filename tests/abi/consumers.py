#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Programs are built against the installed tree, as users will build them.

What is installed goes below a folder of its own; compilers learn of it from
pkg-config alone. Shared and static, C99 and C++11, all warnings are errors.
"""
import argparse
import glob
import os
import re
import shlex
import subprocess
import tempfile

from tap import Tap

STRICT = ['-pedantic', '-Wall', '-Wextra', '-Werror']


def run(command, env=None):
    """What went wrong, as a list of findings."""
    result = subprocess.run(command, env=env, text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not result.returncode:
        return []
    return [f'status {result.returncode}: {shlex.join(command)}',
            *result.stdout.splitlines()[:20]]


def unused(header, sources):
    """Initializers of the header that a consumer does not use."""
    with open(header, encoding='utf-8') as file:
        text = file.read()
    names = re.findall(r'#define (BEZ_\w+_INIT)\b', text)
    names += re.findall(r'^(?:static inline [^(;]*?|)(bez_source_\w+)\(',
                        text, re.M)
    for source in sources:
        with open(source, encoding='utf-8') as file:
            used = set(re.findall(r'\w+', file.read()))
        yield from (f'{os.path.basename(source)} does not use {name}'
                    for name in names if name not in used)
    if not names:
        yield f'{header} has no initializer'


def pkg_config(env, package, *options):
    result = subprocess.run(['pkg-config', *options, package], env=env,
                            text=True, check=True, stdout=subprocess.PIPE)
    return result.stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True)
    parser.add_argument('--here', required=True)
    parser.add_argument('--cc', required=True, nargs='+')
    parser.add_argument('--cxx', required=True, nargs='+')
    args = parser.parse_args()

    c99 = os.path.join(args.here, 'consumer_c99.c')
    cxx11 = os.path.join(args.here, 'consumer_cxx11.cc')
    in_c = [*args.cc, '-std=c99', *STRICT]
    in_cxx = [*args.cxx, '-std=c++11', *STRICT]
    consumers = [
        ('C99', 'bezoar', [*in_c, c99], ['-lbz2']),
        ('C++11', 'bezoar', [*in_cxx, cxx11], []),
        ('inject, C99', 'bezoar-inject',
         [*in_c, os.path.join(args.here, 'inject_c99.c')], []),
        ('inject, C++11', 'bezoar-inject',
         [*in_cxx, os.path.join(args.here, 'inject_cxx11.cc')], []),
    ]
    tap = Tap()
    with tempfile.TemporaryDirectory() as root:
        tap.case('the tree installs',
                 run(['meson', 'install', '-C', args.build, '--no-rebuild',
                      '--quiet', '--destdir', root]))
        found = glob.glob(f'{root}/**/bezoar.pc', recursive=True)
        headers = glob.glob(f'{root}/**/bezoar/bezoar.h', recursive=True)
        inject = glob.glob(f'{root}/**/bezoar-inject.pc', recursive=True)
        if not found or not headers or not inject:
            tap.case('the tree is complete',
                     ['bezoar.pc, bezoar-inject.pc or bezoar/bezoar.h was '
                      'not installed'])
            tap.end()
        for program in glob.glob(f'{root}/**/bin/bezoar', recursive=True):
            if program != f'{root}/usr/bin/bezoar':  # where all look anyway
                tap.case('the program finds its library',
                         run([program, '--version'],
                             {k: v for k, v in os.environ.items()
                              if k != 'LD_LIBRARY_PATH'}))
        tap.case('the consumers use every initializer',
                 unused(headers[0], [c99, cxx11]))
        folder = os.path.dirname(found[0])
        libraries = os.path.dirname(folder)
        env = dict(os.environ, PKG_CONFIG_LIBDIR=folder,
                   PKG_CONFIG_SYSROOT_DIR=root, LD_LIBRARY_PATH=libraries)
        static = os.path.exists(f'{libraries}/libbezoar.a')
        for name, package, command, extra in consumers:
            out = os.path.join(root, 'consumer')
            flags = pkg_config(env, package, '--cflags', '--libs')
            findings = run([*command, '-o', out, *flags, *extra], env)
            tap.case(f'{name}, shared', findings or run([out], env))
            if not static:
                tap.skip(f'{name}, static', 'the build folder was configured '
                         'without -Ddefault_library=both')
                continue
            flags = pkg_config(env, package, '--static', '--cflags',
                               '--libs')
            findings = run([*command, '-static', '-o', out, *flags, *extra],
                           env)
            tap.case(f'{name}, static', findings or run([out], env))
    tap.end()


main()
