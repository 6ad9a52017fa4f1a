#!/bin/sh
# SPDX-License-Identifier: MIT
# boot.sh KERNEL_DIR INITRAMFS CONSOLE_LOG SECONDS PATIENCE DISK: run the guest;
# what it reports comes out on standard output. It ends when the guest does, or
# after SECONDS; and with its parent, however that ends. DISK, an image, may be
# empty: then there is none.
set -eu

kernel=$1 initramfs=$2 console=$3 seconds=$4 patience=$5 disk=$6

# Two serial lines, so that a kernel message never lands in the middle of a
# result: the first is the console, the second the report.
#
# panic=-1 and -no-reboot: a panic ends the guest at once, as does its reboot.
# No watchdogs: on a busy host an emulated CPU may stand still for seconds,
# which says nothing of the guest; a real lock-up meets the case's time limit.
# log_buf_len: the kernel writes a line for each fault on a poisoned page.
# TAP_PATIENCE: no word of the kernel's, so it goes into init's environment.
# The CPU is one that Linux 5.10 to 7.3 all boot on under emulation, less what
# the emulation does not have.
cpu=Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid
set -- \
	-nodefaults -no-user-config -no-reboot -display none -monitor none \
	-accel tcg,thread=multi -cpu "$cpu" -smp 2 -m 2048 \
	-kernel "$kernel/vmlinuz" -initrd "$initramfs" \
	-append "console=ttyS0 loglevel=3 panic=-1 mitigations=off nowatchdog \
rcupdate.rcu_cpu_stall_suppress=1 log_buf_len=32M hugepages=192 \
transparent_hugepage=madvise TAP_PATIENCE=$patience" \
	-serial "file:$console" \
	-chardev stdio,id=report,signal=off -serial chardev:report
[ -z "$disk" ] ||
	set -- "$@" -drive "if=virtio,format=raw,file=$disk,cache=unsafe"

exec </dev/null
exec setpriv --pdeathsig TERM timeout -s TERM -k 5 "$seconds" \
	setpriv --pdeathsig KILL qemu-system-x86_64 "$@"
