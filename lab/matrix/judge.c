/* SPDX-License-Identifier: MIT */
/* What has come of the cell, against what was expected of it. */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMES 20

size_t matrix_extent(const struct matrix_cell *c, const struct matrix_memory *m)
{
	return m->touch & -c->expect.lost;
}

/* --------------------------------------------------------- what the event says */

/* The newest about this memory, or nobody knows which, since it was met; seq 0: none. */
static struct bez_event newest(const struct matrix_memory *m, uint64_t seq)
{
	struct bez_event e[32], last = { .seq = 0 };
	int i, n;

	while ((n = bez_events(&seq, e, COUNT(e))) > 0)
		for (i = 0; i < n; i++)
			if (e[i].cause == BEZ_CAUSE_MISSING ||
			    e[i].addr - (uintptr_t)m->at < m->len)
				last = e[i];
	return last;
}

static void judge_event(const struct matrix_cell *c,
			const struct matrix_memory *m,
			const struct matrix_met *met)
{
	const struct matrix_outcome *o = c->expect.outcome;
	struct bez_event e = newest(m, met->seq);

	if (!o->outcome) {
		CHECKF(!e.seq, "an event: %s", bez_outcome_name(e.outcome));
		return;
	}
	CHECKF(e.seq, "no event");
	CHECKF(e.outcome == o->outcome, "%s (%s), not %s",
	       bez_outcome_name(e.outcome), bez_outcome_name(e.why),
	       bez_outcome_name(o->outcome));
	if (o->outcome == BEZ_OUTCOME_ASKED_AGAIN) {
		CHECK_EQ(e.cause, BEZ_CAUSE_MISSING);
		return;
	}
	CHECKF(e.why == c->expect.why, "because of: %s, not %s",
	       bez_outcome_name(e.why), bez_outcome_name(c->expect.why));
	CHECKF(matrix_is_told(c, e.addr), "%#llx, not %#llx",
	       (unsigned long long)e.addr,
	       (unsigned long long)matrix_link->addr);
	CHECK_EQ(e.width, c->expect.lost);
	CHECK(!strcmp(e.name, "matrix"));
	if (matrix_quiet(c)) {
		/* forgotten before Linux 5.16: what is left is a hole */
		CHECK(e.cause == BEZ_CAUSE_RECOVER ||
		      (e.cause == BEZ_CAUSE_HOLE && matrix_kernel_is("5.10")));
		return;
	}
	CHECK_EQ(e.si_code, c->expect.signal.code);
	if (e.si_code == BUS_ADRERR)	/* behind the fence, a hole */
		CHECK(e.cause == BEZ_CAUSE_ADRERR || e.cause == BEZ_CAUSE_HOLE);
	else
		CHECK_EQ(e.cause, BEZ_CAUSE_POISON_AR);
}

static void judge_way(const struct matrix_cell *c, const struct matrix_memory *m,
		      const struct matrix_met *met)
{
	static const char *const ends[] = {
		"?", "went on", "a catch", "the former action", "death", "death",
	};
	const struct matrix_signal *s = &c->expect.signal;
	struct bez_event e = newest(m, met->seq);

	CHECKF(met->end == c->expect.outcome->end, "%s (%s, %s), not %s",
	       ends[met->end], bez_outcome_name(e.outcome),
	       bez_outcome_name(e.why), ends[c->expect.outcome->end]);
	if (met->end == END_CAUGHT) {
		CHECK(matrix_is_told(c, (uintptr_t)met->lost.touched));
		CHECK_EQ((uintptr_t)met->lost.addr,
			 (uintptr_t)m->at + matrix_extent(c, m));
		CHECK_EQ(met->lost.width, c->expect.lost);
	}
	if (met->end == END_FORMER) {
		CHECK_EQ(met->code, s->code);
		CHECK(matrix_is_told(c, (uintptr_t)met->addr));
		CHECK_EQ(met->bits, s->bits);
	}
}

/* ---------------------------------------------------- it is lost, and stays so */

/* Each: is it lost for this access? Nobody writes to what is read only. */
static int load_is_lost(const struct matrix_memory *m, unsigned char *at)
{
	(void)m;
	BEZ_TRY {
		(void)*(volatile unsigned char *)at;
	} BEZ_CATCH(lost) {
		return lost->touched == at;
	}
	return 0;
}

static int store_is_lost(const struct matrix_memory *m, unsigned char *at)
{
	if (m->read_only)
		return 1;
	BEZ_TRY {
		*(volatile unsigned char *)at = 1;
	} BEZ_CATCH(lost) {
		return lost->touched == at;
	}
	return 0;
}

static int copy_is_lost(const struct matrix_memory *m, unsigned char *at)
{
	unsigned char to;

	return bez_copy(&to, at, 1) == 1 &&
	       (m->read_only || bez_set(at, 1, 1) == 1);
}

static int call_is_lost(const struct matrix_memory *m, unsigned char *at)
{
	int fd[2], lost;

	(void)m;
	if (pipe2(fd, O_CLOEXEC))
		return 0;
	lost = write(fd[1], at, 1) == -1 && errno == EFAULT &&
	       write(fd[1], "x", 1) == 1 && read(fd[0], at, 1) == -1 &&
	       errno == EFAULT;
	close(fd[0]);
	close(fd[1]);
	return lost;
}

static const struct {
	const char *name;
	int (*is_lost)(const struct matrix_memory *m, unsigned char *at);
} ways[] = {
	{ "a load", load_is_lost }, { "a store", store_is_lost },
	{ "a copy", copy_is_lost }, { "a system call", call_is_lost },
};

/* One answer, however often it is asked; @where: of whom. */
static void stays_lost(const struct matrix_cell *c, struct matrix_memory *m,
		       const char *where)
{
	size_t start = matrix_extent(c, m), i, n;

	for (i = 0; i < COUNT(ways); i++)
		for (n = 0; n < TIMES; n++)
			CHECKF(ways[i].is_lost(m, m->at + start + n * 8191 %
					       c->expect.lost),
			       "%s %s, time %zu: not lost", ways[i].name, where,
			       n + 1);
	CHECK_EQ(bez_lost_in(m->at + m->touch, 1), 1);
}

static void stays_lost_in_child(const struct matrix_cell *c,
				struct matrix_memory *m)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		stays_lost(c, m, "in a child");
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(!status, "the child ended with %#x", status);
}

/* ------------------------------------------------------------------- the bytes */

/* It goes on: what is there can be read, and written. */
static void serves(struct matrix_memory *m, size_t from, size_t to)
{
	size_t at;

	CHECK_EQ(matrix_wrong(m, from, to), 0);
	for (at = from; at < to && !m->read_only; at += m->unit) {
		volatile unsigned char *p = m->at + at + 5;
		unsigned char was = *p;

		*p = (unsigned char)~was;
		CHECK_EQ(*p, (unsigned char)~was);
		*p = was;
	}
	CHECK_EQ(matrix_wrong(m, from, to), 0);
}

void matrix_judge(const struct matrix_cell *c, struct matrix_memory *m,
		  const struct matrix_met *met)
{
	struct bez_status s = { .size = sizeof(s) };
	size_t start = matrix_extent(c, m), end = start + c->expect.lost;

	judge_way(c, m, met);
	judge_event(c, m, met);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.installed, 1);
	if (c->expect.all) {
		CHECK_EQ(s.lost, 0);
		/* of a page of 1 GiB no more was filled */
		serves(m, 0, m->unit > HUGE ? MATRIX_BYTES : m->len);
		return;
	}
	serves(m, 0, start);
	serves(m, end, m->len);
	if (c->action->ladder[1] != BEZ_ACTION_DEGRADE)
		return;
	CHECK_EQ(s.lost, 1);
	stays_lost(c, m, "here");
	stays_lost_in_child(c, m);
}
