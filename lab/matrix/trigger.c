/* SPDX-License-Identifier: MIT */
/* Ways to meet a loss, and where that leads. */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ----------------------------------------------------------- the former action */

static sigjmp_buf out;
static volatile int inside;
static siginfo_t told;

static void former(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (!inside) {			/* met where nobody expected it */
		signal(sig, SIG_DFL);
		return;
	}
	told = *si;
	siglongjmp(out, 1);
}

void matrix_former(void)
{
	struct sigaction sa = { .sa_sigaction = former,
				.sa_flags = SA_SIGINFO | SA_NODEFER |
					    SA_ONSTACK };

	CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
}

static enum matrix_end in_scope(const struct matrix_cell *c,
				struct matrix_memory *m,
				void (*meet)(struct matrix_memory *m),
				struct bez_lost *ret_lost)
{
	if (c->action->ladder[1] != BEZ_ACTION_DEGRADE || matrix_quiet(c)) {
		meet(m);
		return END_RETURNED;
	}
	BEZ_TRY {
		meet(m);
	} BEZ_CATCH(lost) {
		*ret_lost = *lost;
		return END_CAUGHT;
	}
	return END_RETURNED;
}

int matrix_quiet(const struct matrix_cell *c)
{
	return c->trigger->call && !c->expect.signal.code;
}

/* The address, from where the memory begins. */
static size_t told_of(const struct matrix_cell *c, const struct matrix_memory *m)
{
	if (matrix_quiet(c))		/* bez_recover() speaks of pages */
		return m->touch & -SMALL;
	switch (c->expect.signal.where) {
	case AT_BYTE:
		return m->touch;
	case AT_BASE:
		return m->touch & -c->expect.lost;
	default:
		return m->lose;
	}
}

int matrix_is_told(const struct matrix_cell *c, uint64_t addr)
{
	if (c->expect.signal.where == AT_SOME && !matrix_quiet(c))
		addr &= -SMALL;
	return addr == matrix_link->addr;
}

void matrix_meet(const struct matrix_cell *c, struct matrix_memory *m,
		 void (*meet)(struct matrix_memory *m), struct matrix_met *met)
{
	struct bez_event e[32];
	int n;

	*met = (struct matrix_met){ .bits = -1 };
	while ((n = bez_events(&met->seq, e, COUNT(e))) > 0)
		continue;
	matrix_link->addr = (uintptr_t)m->at + told_of(c, m);
	if (sigsetjmp(out, 1)) {
		met->end = END_FORMER;
		met->code = told.si_code;
		met->addr = told.si_addr;
		if (told.si_code != BUS_ADRERR)
			met->bits = told.si_addr_lsb;
	} else {
		inside = 1;
		met->end = in_scope(c, m, meet, &met->lost);
	}
	inside = 0;
}

/* ------------------------------------------------------------------ the triggers */

static void load(struct matrix_memory *m)
{
	size_t at = m->touch;

	CHECK_EQ(*(volatile unsigned char *)(m->at + at),
		 matrix_bytes[at % MATRIX_BYTES]);
}

/* What was there: so that the bytes are right, whoever it was that wrote them. */
static void store(struct matrix_memory *m)
{
	*(volatile unsigned char *)(m->at + m->touch) =
		matrix_bytes[m->touch % MATRIX_BYTES];
}

/* The next 4 KiB of it through a pipe; what write(2) says. */
static ssize_t through_pipe(const struct matrix_memory *m, size_t at, size_t len)
{
	static unsigned char got[2 * SMALL];
	ssize_t n, in;
	int fd[2], was;

	CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
	n = write(fd[1], m->at + at, len);
	was = errno;
	if (n > 0) {
		in = read(fd[0], got, sizeof(got));
		CHECK_EQ(in, n);
		CHECK(!memcmp(got, matrix_bytes + at % MATRIX_BYTES,
			      (size_t)n));
	}
	close(fd[0]);
	close(fd[1]);
	errno = was;
	return n;
}

/*
 * A system call that reads it: short before it, EFAULT at it, and no signal. Then
 * the library is asked, and where that has helped the call goes on.
 */
static void copy_in(struct matrix_memory *m)
{
	const struct matrix_cell *c = tap_data();
	size_t at = m->touch & -c->expect.lost, before = at ? SMALL : 0;
	struct bez_status was = { .size = sizeof(was) }, is = was;
	const struct matrix_outcome *o = c->expect.outcome;
	int helped;

	CHECK_EQ(bez_status(&was), 0);
	if (o->outcome == BEZ_OUTCOME_NONE) {
		CHECK_EQ(through_pipe(m, at, SMALL), SMALL);
		CHECK_EQ(bez_recover(m->at + at, SMALL), 0);
		return;
	}
	if (before)
		CHECK_EQ(through_pipe(m, at - before, before + SMALL), before);
	CHECK_EQ(through_pipe(m, at, SMALL), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(bez_status(&is), 0);
	CHECK_EQ(was.faults, is.faults);
	helped = bez_recover(m->at + m->touch, 1);
	CHECKF((o->outcome == BEZ_OUTCOME_REPLACED) == !helped,
	       "bez_recover: %s", strerror(-helped));
	if (!helped)
		CHECK_EQ(through_pipe(m, at - before, before + SMALL),
			 before + SMALL);
}

const struct matrix_trigger matrix_triggers[] = {
	{ .name = "load", .meet = load },
	{ .name = "store", .meet = store, .store = 1 },
	{ .name = "copy-in", .meet = copy_in, .call = 1 },
};
const size_t matrix_n_triggers = COUNT(matrix_triggers);
