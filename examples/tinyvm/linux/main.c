/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "linux.h"

#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#define MIB	(1ull << 20)

static struct machine machine;
static struct uart uart;
static unsigned char *memory;
static uint64_t entry;
static unsigned int lost, survived;
static unsigned int done;		/* how many, says the program at its end */
static unsigned int complained;
static int cannot;			/* no fault of ours, nor of the relay's */

static int failed(const char *what, int error)
{
	fprintf(stderr, "tinyvm: %s: %s\n", what, strerror(error));
	return -1;
}

/* ------------------------------------------------------------- the board */

/* One slot, as far as it goes: what is no memory by e820 is not looked for. */
static int add_memory(struct machine *m, uint64_t len)
{
	struct kvm_userspace_memory_region region = { .memory_size = len };
	int r;

	memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return failed("memory", errno);
	entry = linux_load(memory, len, m->options->kernel, m->options->init);
	if (!entry)
		return -1;
	r = bez_vm_map(m->relay, 0, len, memory, 0, NULL);
	if (r)
		return failed("bez_vm_map", -r);
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(m->fd, KVM_SET_USER_MEMORY_REGION, &region))
		return failed("KVM_SET_USER_MEMORY_REGION", errno);
	return 0;
}

static int add_chips(struct machine *m)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_reinject_control control = { .pit_reinject = 0 };
	uint64_t map = 0xfffbc000;

	/* three pages below the firmware's place, for processors that need them */
	if (ioctl(m->fd, KVM_SET_IDENTITY_MAP_ADDR, &map) && errno != ENOTTY)
		return failed("KVM_SET_IDENTITY_MAP_ADDR", errno);
	if (ioctl(m->fd, KVM_SET_TSS_ADDR, 0xfffbd000) && errno != ENOTTY)
		return failed("KVM_SET_TSS_ADDR", errno);
	if (ioctl(m->fd, KVM_CREATE_IRQCHIP, 0))
		return failed("KVM_CREATE_IRQCHIP", errno);
	if (ioctl(m->fd, KVM_CREATE_PIT2, &pit))
		return failed("KVM_CREATE_PIT2", errno);
	/* where it is slow it would do nothing but take ticks that it has missed */
	return ioctl(m->fd, KVM_REINJECT_CONTROL, &control) ?
		failed("KVM_REINJECT_CONTROL", errno) : 0;
}

static int set_up(struct vcpu *v)
{
	struct kvm_regs regs = { .rip = entry, .rsi = LINUX_PARAMS, .rflags = 2 };
	struct kvm_segment data = cpu_segment(24, 3, 0);
	struct kvm_sregs s;

	if (cpu_identify(v))
		return -1;
	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return failed("KVM_GET_SREGS", errno);
	s.cs = cpu_segment(16, 11, 1);
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = LINUX_GDT;
	s.gdt.limit = 31;
	s.cr0 = 0x80000033;		/* PG NE ET MP PE */
	s.cr3 = LINUX_TABLES;
	s.cr4 = 0x20;			/* PAE */
	s.efer = 0x500;			/* LMA LME */
	if (ioctl(v->fd, KVM_SET_SREGS, &s))
		return failed("KVM_SET_SREGS", errno);
	return ioctl(v->fd, KVM_SET_REGS, &regs) ? failed("KVM_SET_REGS", errno) : 0;
}

/* --------------------------------------------------- what the guest says */

/* The program in the guest names a page of its own, and touches it when it has seen
 * that the line went out: by then it is lost. */
static int lose(struct machine *m, uint64_t gpa)
{
	bez_inject_t token;
	int r;

	if (gpa >= m->options->memory_mib * MIB)
		return failed("the guest names a page that is none", EINVAL);
	/* busy: a repair of libbezoar's, or the kernel, has it */
	do
		r = bez_inject(memory + gpa, 4096, m->options->backend,
			       BEZ_INJECT_NO_UNDO, &token);
	while (r == -EBUSY);
	r = r ? r : bez_inject_forget(token);
	if (r)
		return failed("cannot lose a page", -r);
	fprintf(stderr, "tinyvm: guest page 0x%llx is lost\n", (unsigned long long)gpa);
	lost++;
	return 0;
}

/* Of a kernel that something has gone wrong with. */
static const char *const complaints[] = {
	"Kernel panic", "BUG:", "Oops", "WARNING:", "Call Trace",
};

static int line_said(struct vcpu *v)
{
	char *line = v->line, *word;
	size_t i;

	line[v->line_len] = 0;
	v->line_len = 0;
	fprintf(stderr, "guest: %s\n", line);
	word = strstr(line, "tinyvm: lose 0x");
	if (word)
		return lose(v->machine, strtoull(word + 15, NULL, 16));
	survived += strstr(line, "tinyvm: survived") != NULL;
	word = strstr(line, "tinyvm: done ");
	if (word)
		done = (unsigned int)strtoul(word + 13, NULL, 10);
	for (i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++)
		complained += strstr(line, complaints[i]) != NULL;
	return 0;
}

static int byte_out(struct vcpu *v, char c)
{
	if (c == '\n')
		return line_said(v);
	if (c != '\r' && v->line_len < sizeof(v->line) - 1)
		v->line[v->line_len++] = c;
	return 0;
}

/* ----------------------------------------------------------------- exits */

static int uart_exit(struct vcpu *v, uint8_t *data)
{
	struct kvm_irq_level irq = { .irq = UART_IRQ };
	uint32_t reg = v->run->io.port - UART_PORT;
	int c = -1, r = 0;

	if (v->run->io.direction == KVM_EXIT_IO_IN)
		*data = uart_read(&uart, reg);
	else
		c = uart_write(&uart, reg, *data);
	if (c >= 0)
		r = byte_out(v, (char)c);
	irq.level = (uint32_t)uart_asks(&uart);
	if (ioctl(v->machine->fd, KVM_IRQ_LINE, &irq))
		return failed("KVM_IRQ_LINE", errno);
	return r;
}

/* Where nothing is, all bits are set. */
static int io_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t i;
	int r = 0;

	if (run->io.size == 1 && run->io.port >= UART_PORT &&
	    run->io.port < UART_PORT + 8) {
		for (i = 0; i < run->io.count && !r; i++)
			r = uart_exit(v, data + i);
		return r;
	}
	if (run->io.direction == KVM_EXIT_IO_IN)
		memset(data, 0xff, (size_t)run->io.size * run->io.count);
	return 0;
}

/* 0: it goes on. 1: it has ended as it should. -1: not as it should. */
static int serve(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return io_exit(v);
	case KVM_EXIT_MMIO:
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return 0;
	case KVM_EXIT_SHUTDOWN:
		return 1;
	case KVM_EXIT_INTERNAL_ERROR:
		cannot = !lost;
		fprintf(stderr, "tinyvm: KVM has failed: %u%s\n", run->internal.suberror,
			cannot ? ", and no page was lost yet: the KVM of this machine "
				 "can not run this kernel" : "");
		return -1;
	default:
		fprintf(stderr, "tinyvm: exit %u\n", run->exit_reason);
		return -1;
	}
}

/* ------------------------------------------------------------------- run */

/* Written by the handler, here and in the page that KVM looks at. */
static void time_is_over(int signal)
{
	(void)signal;
	__atomic_store_n(&machine.quit, 1, __ATOMIC_RELEASE);
	machine.vcpu[0].run->immediate_exit = 1;
}

static int too_long(const struct vcpu *v)
{
	struct kvm_regs regs = { 0 };

	ioctl(v->fd, KVM_GET_REGS, &regs);
	fprintf(stderr, "tinyvm: not done after %llu s; it is at 0x%llx\n",
		(unsigned long long)v->machine->options->seconds,
		(unsigned long long)regs.rip);
	return -1;
}

static int run(struct vcpu *v)
{
	struct itimerval limit = { .it_value.tv_sec = (time_t)v->machine->options->seconds };
	struct sigaction action = { .sa_handler = time_is_over };
	int r = 0;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	while (!r) {
		if (__atomic_load_n(&v->machine->quit, __ATOMIC_ACQUIRE)) {
			return too_long(v);
		}
		r = bez_vcpu_run(v->relay);
		if (r == -EINTR) {
			r = 0;
			continue;
		}
		r = r ? failed("KVM_RUN", -r) : serve(v);
	}
	return r < 0 ? -1 : 0;
}

int linux_main(const struct options *o)
{
	struct machine *m = &machine;
	uint64_t told;
	int r;

	r = machine_open(m, o);
	if (r)
		return r == CANNOT ? CANNOT : 1;
	if (add_chips(m) || add_memory(m, o->memory_mib * MIB) ||
	    machine_add_vcpu(m, 0, set_up) || run(&m->vcpu[0]))
		return cannot ? CANNOT : 1;
	told = m->told.delivered[BEZ_VM_ERROR_SRAR] + m->told.delivered[BEZ_VM_ERROR_SRAO];
	printf("pages lost: %u; machine checks: %llu action required, %llu optional; "
	       "the program in the guest has survived %u, and %s; complaints of its "
	       "kernel: %u\n", lost,
	       (unsigned long long)m->told.delivered[BEZ_VM_ERROR_SRAR],
	       (unsigned long long)m->told.delivered[BEZ_VM_ERROR_SRAO], survived,
	       done ? "came to its end" : "has not come to its end", complained);
	machine_end(m);
	return lost && told >= lost && survived == lost && done == lost &&
	       !complained ? 0 : 1;
}
