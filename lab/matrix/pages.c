/* SPDX-License-Identifier: MIT */
/* Page types: private anonymous memory, and what all of them share. */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 6

void matrix_map(struct matrix_memory *m)
{
	size_t unit = m->unit > HUGE ? m->unit : HUGE;
	unsigned char *room;

	room = mmap(NULL, m->len + 2 * unit, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(room != MAP_FAILED);
	room += unit - (uintptr_t)room % unit;
	m->at = mmap(room, m->len, PROT_READ | PROT_WRITE,
		     m->flags | MAP_FIXED, m->fd, 0);
	CHECKF(m->at == room, "mmap: %s", strerror(errno));
}

/* Of a huge page another part is touched than goes bad. */
void matrix_choose(struct matrix_memory *m, size_t at)
{
	m->lose = at;
	m->touch = at + 123 + (m->unit > SMALL ? 5 * SMALL : 0);
}

void matrix_share(struct matrix_memory *m, uint32_t flags)
{
	m->shared = (struct bez_shared)BEZ_SHARED_INIT;
	m->shared.flags = flags;
	m->shared.fd = m->fd;
}

unsigned long matrix_huge_kb(const void *at, const char *field)
{
	unsigned long start, end, kb = 0, huge = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	size_t n = strlen(field);
	char line[512];
	int here = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)at && (uintptr_t)at < end;
		else if (here && !strncmp(line, field, n) &&
			 sscanf(line + n, ": %lu", &kb) == 1)
			huge = kb;
	}
	fclose(f);
	return huge;
}

static void plain(struct matrix_memory *m)
{
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	matrix_map(m);
	madvise(m->at, m->len, MADV_NOHUGEPAGE);
	matrix_choose(m, 2 * SMALL);
}

static void anon(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	plain(m);
	matrix_fill(m->at, m->len);
}

/* ------------------------------------------------------- transparent huge pages */

static void thp(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	m->unit = SMALL;
	m->len = HUGE;
	m->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	matrix_map(m);
	CHECK_EQ(madvise(m->at, m->len, MADV_HUGEPAGE), 0);
	matrix_fill(m->at, m->len);
	CHECK_EQ(matrix_huge_kb(m->at, "AnonHugePages"), HUGE >> 10);
	matrix_choose(m, 7 * SMALL);
}

void matrix_pin(struct matrix_memory *m)
{
	struct iovec part = { m->at + m->lose, SMALL };
	static int fd[2];

	CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
	CHECK_EQ(vmsplice(fd[1], &part, 1, 0), SMALL);
}

static void thp_pinned(struct matrix_memory *m, int fresh)
{
	thp(m, fresh);
	m->unsplit = 1;
}

/* Whoever is told again of a page that stays mapped is told the same, and where
 * nobody did anything the huge page is whole. */
static void told_again(struct matrix_memory *m, int replaced)
{
	const struct matrix_cell *c = tap_data();
	struct matrix_met met;

	if (replaced || !c->expect.signal.code ||
	    c->action->ladder[1] != BEZ_ACTION_DEFAULT)
		return;
	matrix_meet(c, m, c->injection->again, &met);
	CHECK_EQ(met.end, END_FORMER);
	CHECK_EQ(met.code, BUS_MCEERR_AR);
	CHECK_EQ((uintptr_t)met.addr, (uintptr_t)m->at + m->lose);
	CHECK_EQ(met.bits, 12);
	CHECK_EQ(matrix_huge_kb(m->at, "AnonHugePages"), HUGE >> 10);
}

/* -------------------------------------------------------------- shared by a fork */

static int go[2];
static pid_t sibling;

static void cow_fork(struct matrix_memory *m, int fresh)
{
	char byte;

	(void)fresh;
	plain(m);
	matrix_fill(m->at, m->len);
	CHECK_EQ(pipe2(go, O_CLOEXEC), 0);
	sibling = fork();
	CHECK(sibling >= 0);
	if (sibling)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(go[1]);
	close(matrix_link->ask[1]);
	if (read(go[0], &byte, 1) == 1)
		_exit(m->at[m->touch] != matrix_bytes[m->touch]);
	_exit(1);
}

/* It has lost the page, too, and no library. */
static void sibling_is_told(struct matrix_memory *m, int replaced)
{
	int status;

	(void)m;
	(void)replaced;
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(waitpid(sibling, &status, 0), sibling);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	       "the other that had it ended with %#x", status);
}

/* --------------------------------------------------------------------- locked */

static void mlocked(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	plain(m);
	matrix_fill(m->at, m->len);
	CHECK_EQ(mlock(m->at, m->len), 0);
}

static void is_locked(struct matrix_memory *m, int replaced)
{
	unsigned char *at = m->at + (replaced ? m->lose : 0);

	CHECK(matrix_huge_kb(at, "Locked") >= SMALL >> 10);
}

/* -------------------------------------------------------------------- the zeros */

/* Read, and never written: all of it is the kernel's one page of zeros. What has
 * the right bytes must not be that page as well. */
static void zero_page(struct matrix_memory *m, int fresh)
{
	unsigned char *zeros = mmap(NULL, MATRIX_BYTES, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)fresh;
	CHECK(zeros != MAP_FAILED);
	memset(zeros, 0, MATRIX_BYTES);
	matrix_bytes = zeros;
	plain(m);
	CHECK_EQ(matrix_wrong(m, 0, m->len), 0);
}

const struct matrix_page matrix_anon_pages[] = {
	{ .name = "anon", .make = anon },
	{ .name = "thp", .make = thp },
	{ .name = "thp-pinned", .make = thp_pinned, .ready = matrix_pin,
	  .after = told_again },
	{ .name = "cow-fork", .make = cow_fork, .after = sibling_is_told },
	{ .name = "mlocked", .make = mlocked, .after = is_locked },
	{ .name = "zero-page", .make = zero_page },
	{ .name = NULL },
};
