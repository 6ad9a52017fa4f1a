/* SPDX-License-Identifier: MIT */
/*
 * A page that a machine check loses. The victim meets it on a processor of its
 * own, again and again, until the keeper has had it raised there: a load or a
 * store of its, an instruction, or the kernel's copy in a call.
 */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { KEEPER = 0, VICTIM = 1 };	/* processors */

/* A call that reads the page, and next to nothing else: then it says that there is
 * no such attribute. */
static int copy(const struct matrix_memory *m)
{
	return fsetxattr(matrix_link->records, "lab", m->at + m->lose, SMALL, 0) ?
		       -errno : 0;
}

/* Where the processor has to be. */
static void choose_place(const struct matrix_cell *c, struct matrix_memory *m,
			 struct lab_mce *mce)
{
	mce->kind = LAB_MCE_LOAD;
	if (c->trigger->call) {
		lab_copy_range(&mce->low, &mce->high);
		/* behind the first instructions of it, which read nothing: there
		 * the kernel would panic */
		mce->from = (uintptr_t)m->at + m->lose + 64;
		mce->to = mce->from + SMALL - 64;
	} else if (c->page->meet) {
		mce->kind = LAB_MCE_FETCH;
		mce->low = (uintptr_t)m->at + m->touch;
		mce->high = mce->low + 1;
	} else if (c->trigger->store) {
		mce->low = (uintptr_t)lab_store_loop;
		mce->high = (uintptr_t)lab_store_loop_end;
	} else {
		mce->low = (uintptr_t)lab_load_loop;
		mce->high = (uintptr_t)lab_load_loop_end;
	}
}

static void ask(struct matrix_memory *m)
{
	struct matrix_link *l = matrix_link;
	static int again;

	/* the check comes before its keeper says that it has been raised */
	while (again && !l->met)
		sched_yield();
	again = 1;
	l->mce.phys = matrix_note_frame(m->at + m->lose) * SMALL;
	l->met = 0;
	CHECK_EQ(write(l->ask[1], "x", 1), 1);
}

void matrix_mce_lose(struct matrix_memory *m)
{
	struct lab_mce *mce = &matrix_link->mce;

	*mce = (struct lab_mce){ .cpu = VICTIM };
	choose_place(tap_data(), m, mce);
	lab_stay_on(VICTIM);
	ask(m);
}

void matrix_mce_asked(void)
{
	lab_stay_on(KEEPER);
	CHECK_EQ(lab_mce(&matrix_link->mce), 0);
	matrix_link->met = 1;
}

/*
 * The kernel reads the page until it has been met. That call fails, or tries what
 * was short once more byte by byte (Linux 6.4), and the memory is a good one here.
 * Then the page has gone, as if it had been lost before. Linux 5.10 tells us, and
 * pretends that all is well.
 */
static void met_by_call(const struct matrix_cell *c, struct matrix_memory *m)
{
	int r;

	do
		r = copy(m);
	while (r == -EOPNOTSUPP && !matrix_link->met);
	while (!matrix_link->met)
		sched_yield();
	CHECKF(r == -EOPNOTSUPP || (r == -EFAULT && matrix_quiet(c)),
	       "the call that met it: %s", strerror(-r));
	if (matrix_quiet(c))
		c->trigger->meet(m);
}

void matrix_mce_meet(struct matrix_memory *m)
{
	const struct matrix_cell *c = tap_data();
	unsigned char *at = m->at + m->touch, was = *at;

	if (c->trigger->call) {
		met_by_call(c, m);
	} else if (c->page->meet) {
		do
			c->page->meet(m);
		while (!matrix_link->met);
	} else if (c->trigger->store) {
		lab_store_loop(at, &matrix_link->met, was);
	} else {
		CHECK_EQ(lab_load_loop(at, &matrix_link->met), was);
		CHECK_EQ(was, matrix_bytes[m->touch % MATRIX_BYTES]);
	}
}

void matrix_mce_again(struct matrix_memory *m)
{
	ask(m);
	matrix_mce_meet(m);
}
