/* SPDX-License-Identifier: MIT */
/*
 * Which page is lost next is drawn from those that tasks use at the moment. Most are
 * left for the guest to meet. Some are found by the host first, which is then a report
 * of ours; and now and then there is a corrected error, of a page that is good.
 */
#define _GNU_SOURCE
#include "poisoner.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "../random.h"

/* Lost, and not told yet: pages that went out of their task's hands meanwhile are
 * met only when they come round again. */
#define MAX_WAITING	32

static uint32_t draw(const struct machine *m, uint64_t *seed, const uint32_t **ret_from)
{
	const struct board *b = m->memory.board;
	uint64_t cpu = random_below(seed, b->cpus);
	uint64_t slot = random_below(seed, BOARD_TASKS * TASK_PAGES);

	*ret_from = &b->used[cpu][slot];
	return __atomic_load_n(*ret_from, __ATOMIC_ACQUIRE);
}

static int lose(struct machine *m, uint64_t frame)
{
	bez_inject_t token;
	int r;

	/* odd from before it is touched until after it: pairs with vcpu.c */
	__atomic_add_fetch(&m->losing, 1, __ATOMIC_SEQ_CST);
	/* busy: a repair of libbezoar's, or the kernel, has it */
	do
		r = bez_inject(memory_at(&m->memory, frame), 4096, m->options->backend,
			       BEZ_INJECT_NO_UNDO, &token);
	while (r == -EBUSY);
	__atomic_add_fetch(&m->losing, 1, __ATOMIC_SEQ_CST);
	return r ? r : bez_inject_forget(token);
}

/* -ENOSPC: so much waits that this is not told; the guest meets it all the same. */
static int report(struct poisoner *p, struct machine *m, enum bez_vm_error error,
		  uint64_t frame, uint64_t cpu)
{
	int r = bez_vm_report(m->relay, m->vcpu[cpu].relay, error, frame << 12);

	if (r == -ENOSPC)
		return 0;
	p->found[error] += !r;
	return r;
}

/* One page. 1: it was not to be had. */
static int lose_one(struct poisoner *p, struct machine *m, uint64_t *seed)
{
	const uint32_t *from;
	uint32_t frame = draw(m, seed, &from);
	uint64_t cpu = random_below(seed, m->options->vcpus);
	uint64_t how = random_below(seed, 16);
	int r;

	if (!frame)
		return 1;
	if (how == 0 && ledger_good(&m->ledger, frame))
		return report(p, m, BEZ_VM_ERROR_CORRECTED, frame, cpu);
	r = ledger_lose(&m->ledger, frame);
	if (r) {
		/* it goes from there before it is said to be out of use */
		if (r == 2 && __atomic_load_n(from, __ATOMIC_ACQUIRE) == frame)
			ledger_used_again(&m->ledger);
		return 1;
	}
	r = lose(m, frame);
	if (r) {
		ledger_keep(&m->ledger, frame);
		return r;
	}
	p->made++;
	if (how < 4)
		return report(p, m, BEZ_VM_ERROR_SRAO, frame, cpu);
	return how == 4 ? report(p, m, BEZ_VM_ERROR_UCNA, frame, cpu) : 0;
}

int poisoner_run(struct poisoner *p, struct machine *m)
{
	uint64_t seed = m->options->seed;
	int r;

	while (p->made < m->options->poison) {
		if (ledger_wait(&m->ledger, MAX_WAITING - 1))
			return -1;
		r = lose_one(p, m, &seed);
		if (r < 0) {
			fprintf(stderr, "tinyvm: cannot lose a page: %s\n", strerror(-r));
			p->error = r;
			return -1;
		}
		if (r)
			sched_yield();
	}
	return ledger_wait(&m->ledger, 0);
}
