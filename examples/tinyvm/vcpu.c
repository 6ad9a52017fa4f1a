/* SPDX-License-Identifier: MIT */
/* The thread of a CPU: run it, and serve its exits. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"

/* Lines come whole, whatever the other CPUs say meanwhile. */
static void console(struct vcpu *v, char c)
{
	if (c != '\n' && v->line_len < sizeof(v->line)) {
		v->line[v->line_len++] = c;
		return;
	}
	fprintf(stderr, "guest, CPU %u: %.*s\n", v->index, (int)v->line_len, v->line);
	v->line_len = 0;
}

/* What the guest writes to a port. 1: it is the last that this CPU does. */
static int port(struct vcpu *v, uint16_t number, uint32_t value)
{
	struct ledger *l = &v->machine->ledger;

	switch (number) {
	case PORT_CONSOLE:
		console(v, (char)value);
		return 0;
	case PORT_TOLD + BEZ_VM_ERROR_SRAR:
	case PORT_TOLD + BEZ_VM_ERROR_SRAO:
	case PORT_TOLD + BEZ_VM_ERROR_UCNA:
	case PORT_TOLD + BEZ_VM_ERROR_CORRECTED:
		ledger_told(l, number - PORT_TOLD, value);
		return 0;
	case PORT_OUT:
		ledger_out(l, value);
		return 0;
	case PORT_READY:
		ledger_ready(l);
		return 0;
	case PORT_PANIC:
		return 1;
	default:
		fprintf(stderr, "tinyvm: CPU %u writes to port 0x%x\n", v->index, number);
		return 1;
	}
}

static int io_exit(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	uint32_t value = 0;

	if (run->io.direction != KVM_EXIT_IO_OUT || run->io.count != 1 ||
	    run->io.size > sizeof(value)) {
		fprintf(stderr, "tinyvm: CPU %u reads a port\n", v->index);
		return 1;
	}
	memcpy(&value, (const char *)run + run->io.data_offset, run->io.size);
	return port(v, run->io.port, value);
}

static int other_exit(const struct vcpu *v)
{
	const struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		fprintf(stderr, "tinyvm: CPU %u: a triple fault\n", v->index);
		break;
	case KVM_EXIT_MMIO:
		fprintf(stderr, "tinyvm: CPU %u touches 0x%llx, where nothing is\n",
			v->index, (unsigned long long)run->mmio.phys_addr);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fprintf(stderr, "tinyvm: CPU %u cannot be entered: 0x%llx\n", v->index,
			(unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		fprintf(stderr, "tinyvm: CPU %u: KVM has failed: %u\n", v->index,
			run->internal.suberror);
		break;
	default:
		fprintf(stderr, "tinyvm: CPU %u: exit %u\n", v->index, run->exit_reason);
		break;
	}
	return 1;
}

/* bez_inject() takes a page away for a moment before it is lost. A system call that
 * comes upon it then fails, and KVM_RUN is one. */
static int is_passing(const struct machine *m, uint64_t losing_before)
{
	return losing_before % 2 ||
	       __atomic_load_n(&m->losing, __ATOMIC_SEQ_CST) != losing_before;
}

/* 0: it has halted, as it was asked to. */
static int run(struct vcpu *v)
{
	uint64_t losing;
	int r;

	while (!__atomic_load_n(&v->machine->quit, __ATOMIC_ACQUIRE)) {
		losing = __atomic_load_n(&v->machine->losing, __ATOMIC_SEQ_CST);
		r = bez_vcpu_run(v->relay);
		if (r == -EINTR || (r == -EFAULT && is_passing(v->machine, losing)))
			continue;
		if (r) {
			fprintf(stderr, "tinyvm: CPU %u cannot run: %s\n", v->index,
				strerror(-r));
			return 1;
		}
		if (v->run->exit_reason == KVM_EXIT_HLT)
			return 0;
		r = v->run->exit_reason == KVM_EXIT_IO ? io_exit(v) : other_exit(v);
		if (r)
			return 1;
	}
	return 1;
}

void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	int failed = run(v);

	/* the others are not to wait for it when they are told of something */
	if (!failed) {
		bez_vcpu_remove(v->relay);
		v->relay = NULL;
	}
	ledger_halted(&v->machine->ledger, failed);
	return NULL;
}
