/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "machine.h"

#include "huge.h"
#include "live.h"
#include "tap.h"

#include <bezoar/shared.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void told(const struct bez_vm_event *event, void *arg)
{
	struct machine *m = arg;
	int at = m->events++;

	if (at < MACHINE_EVENTS)
		m->event[at] = *event;
}

static void nothing(int sig)
{
	(void)sig;
}

unsigned char machine_byte(size_t page)
{
	return (unsigned char)(page * 7 + 3);
}

uint64_t machine_gpa(size_t page)
{
	return MACHINE_GPA + page * 4096;
}

/* *@ret_file stays open. */
static void *in_file(size_t len, struct bez_shared *ret_file)
{
	static const struct bez_shared init = BEZ_SHARED_INIT;

	*ret_file = init;
	ret_file->flags = BEZ_SHARED_EXCLUSIVE;
	ret_file->fd = memfd_create("guest", MFD_CLOEXEC);
	CHECK(ret_file->fd >= 0);
	CHECK_EQ(ftruncate(ret_file->fd, (off_t)len), 0);
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, ret_file->fd,
		    0);
}

void machine_make(struct machine *m, const struct machine_options *options)
{
	struct bez_vm_options o = { .size = sizeof(o) };
	/* a loss is told of when somebody has touched it, wherever this runs */
	const struct bez_options start = {
		.size = sizeof(start),
		.flags = (options->early ? 0 : BEZ_START_NO_EARLY_KILL) |
			 (options->covers ? BEZ_START_NO_UFFD : 0),
	};
	struct sigaction kick = { .sa_handler = nothing };
	const char *vendor = options->vendor ? options->vendor :
					       "GenuineIntel";
	int vcpus = options->vcpus ? options->vcpus : 1, i;
	struct bez_policy of_file = BEZ_POLICY_INIT;
	struct bez_shared file;
	size_t page;

	toy_need();
	memset(m, 0, sizeof(*m));
	toy_make(&m->toy, vcpus);
	CHECK_EQ(sigaction(SIGUSR1, &kick, NULL), 0);
	CHECK_EQ(bez_start(&start), 0);
	o.flags = options->flags;
	/* the toy takes an early word on whatever host: deliver.c */
	if (!options->vendor)
		o.vendor = BEZ_VM_VENDOR_INTEL;
	o.not_ready = options->not_ready;
	o.banks = options->banks;
	o.patience_ns = options->patience_ns;
	o.kvm_fd = m->toy.kvm;
	o.vm_fd = m->toy.vm;
	o.kick_signal = SIGUSR1;
	o.kick = options->kick;
	o.kick_arg = m;
	o.wrote = options->wrote;
	o.event = told;
	o.event_arg = m;
	CHECK_EQ(bez_vm_create(&o, &m->vm), 0);
	of_file.shared = &file;
	m->mapped = options->huge ? options->huge : MACHINE_LEN;
	m->mem = options->file ? in_file(m->mapped, &file) :
		 mmap(NULL, m->mapped, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS |
		      (options->huge ? MAP_HUGETLB | HUGE_OF(options->huge) : 0),
		      -1, 0);
	CHECK(m->mem != MAP_FAILED);
	if (!options->huge)
		CHECK_EQ(madvise(m->mem, MACHINE_LEN, MADV_NOHUGEPAGE), 0);
	for (page = 0; page < MACHINE_PAGES; page++)
		memset(m->mem + page * 4096, machine_byte(page), 4096);
	CHECK_EQ(bez_vm_map(m->vm, 0, TOY_LOW, m->toy.low, 0, NULL), 0);
	CHECK_EQ(bez_vm_map(m->vm, MACHINE_GPA, m->mapped, m->mem, 0,
			    options->file ? &of_file : options->policy), 0);
	if (options->file)
		CHECK_EQ(close(file.fd), 0);
	toy_slot(&m->toy, 1, MACHINE_GPA, m->mem, m->mapped, 0);
	for (i = 0; i < vcpus; i++) {
		toy_cpuid(&m->toy, i, vendor);
		CHECK_EQ(bez_vcpu_add(m->vm, m->toy.vcpu[i], m->toy.run[i],
				      &m->vcpu[i]), 0);
		toy_boot(&m->toy, i);
	}
}

void machine_unmake(struct machine *m)
{
	int i;

	for (i = 0; i < TOY_VCPUS; i++)
		CHECK_EQ(bez_vcpu_remove(m->vcpu[i]), 0);
	CHECK_EQ(bez_vm_destroy(m->vm), 0);
	CHECK_EQ(bez_stop(), 0);
	munmap(m->mem, m->mapped);
	toy_unmake(&m->toy);
}

void machine_lose(struct machine *m, size_t page)
{
	live_poison(m->mem + page * 4096);
}

int machine_run(struct machine *m, int vcpu)
{
	int r;

	do {
		r = bez_vcpu_run(m->vcpu[vcpu]);
	} while (r == -EINTR);
	if (r)
		return r;
	return toy_port(&m->toy, vcpu);
}

const struct bez_vm_event *machine_last(const struct machine *m)
{
	CHECK(m->events > 0);
	return &m->event[m->events - 1];
}

int machine_count(const struct machine *m, enum bez_vm_outcome outcome)
{
	return (int)bez_vm_outcome_count(m->vm, outcome);
}
