/* SPDX-License-Identifier: MIT */
/* The keeper of a cell: loses pages for the victim, sees its end, undoes it. */
#define _GNU_SOURCE
#include "matrix.h"
#include "poison.h"

#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

struct matrix_link *matrix_link;
const unsigned char *matrix_bytes;

int matrix_tell(const char *path, const char *fmt, ...)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r;
	va_list ap;

	if (fd < 0)
		return -errno;
	va_start(ap, fmt);
	r = vdprintf(fd, fmt, ap) < 0 ? -errno : 0;
	va_end(ap);
	close(fd);
	return r;
}

long matrix_corrupted(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "HardwareCorrupted: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

/* ------------------------------------------------------------------- content */

/* No page of it is all zeros, and no two are alike. */
void matrix_make_bytes(void)
{
	unsigned char *at = mmap(NULL, MATRIX_BYTES, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (at == MAP_FAILED)
		return;
	for (i = 0; i < 2 * SMALL; i++)
		at[i] = (unsigned char)(i % 251 + 1);
	for (i = 2; i < MATRIX_BYTES / SMALL; i++)
		memcpy(at + i * SMALL, at + i % 251, SMALL);
	for (i = 0; i < MATRIX_BYTES / SMALL; i++)
		memcpy(at + i * SMALL + SMALL / 2, &i, sizeof(i));
	mprotect(at, MATRIX_BYTES, PROT_READ);
	matrix_bytes = at;
}

void matrix_fill(unsigned char *at, size_t len)
{
	size_t done, part;

	for (done = 0; done < len; done += part) {
		part = len - done < MATRIX_BYTES ? len - done : MATRIX_BYTES;
		memcpy(at + done, matrix_bytes, part);
	}
}

size_t matrix_wrong(const struct matrix_memory *m, size_t from, size_t to)
{
	size_t at, wrong = 0;

	for (at = from; at < to; at += SMALL)
		wrong += memcmp(m->at + at, matrix_bytes + at % MATRIX_BYTES,
				SMALL) != 0;
	return wrong;
}

/* -------------------------------------------------------------------- frames */

uint64_t matrix_note_frame(const void *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct matrix_link *l = matrix_link;
	uint64_t entry = 0;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, sizeof(entry),
		       (off_t)((uintptr_t)at / SMALL * sizeof(entry))),
		 sizeof(entry));
	close(fd);
	CHECKF(entry >> 63, "no page is there to be lost: %#llx",
	       (unsigned long long)entry);
	CHECK(l->n < MATRIX_FRAMES);
	entry &= (1ull << 55) - 1;
	l->frames[l->n++] = entry;
	return entry;
}

/* Until the victim has closed its end: lose what it asks for. */
static void serve(const struct matrix_cell *c)
{
	char byte;

	while (read(matrix_link->ask[0], &byte, 1) > 0)
		c->injection->asked();
}

/* What the victim does not see: a loss that changes nothing for it, or kills. */
static void see_loss(const struct matrix_cell *c, long before)
{
	struct matrix_link *l = matrix_link;
	unsigned int i;

	if (c->expect.kept) {
		CHECK(l->n > 0);
		for (i = 0; i < l->n; i++)
			CHECKF(is_bad_pfn(l->frames[i]),
			       "%#llx is not marked as bad",
			       (unsigned long long)l->frames[i]);
	}
	if (c->expect.outcome->end == END_DIED) {
		CHECK_EQ(l->n, 1);
		CHECKF(matrix_corrupted() > before,
		       "it died, and nothing was lost");
	}
}

/* As if nothing had been, if that can be. Of a huge page in a file's cache the first small one has
 * the mark, and has to be the first to be asked for. */
static void give_back(const struct matrix_cell *c, long before)
{
	struct matrix_link *l = matrix_link;
	unsigned int i;
	long now;

	for (i = 0; i < l->n && !c->expect.gone; i++) {
		uint64_t frame = l->frames[i];

		if (l->unit > SMALL)
			matrix_tell(DEBUG "unpoison-pfn", "%#llx",
				    (unsigned long long)(frame &
							 -(l->unit / SMALL)));
		matrix_tell(DEBUG "unpoison-pfn", "%#llx",
			    (unsigned long long)frame);
	}
	now = matrix_corrupted();
	if (c->expect.gone)
		CHECKF(now > before, "nothing was lost");
	else if (c->expect.kept)
		CHECK(now >= before);
	else
		CHECKF(now == before, "HardwareCorrupted: %ld kB, was %ld", now,
		       before);
}

/* ------------------------------------------------------------------- the end */

static void one_record(const struct matrix_cell *c, uint32_t outcome)
{
	const struct matrix_expect *e = &c->expect;
	struct bez_record r;

	CHECK_EQ(read(matrix_link->records, &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.digest, bez_digest(&r, sizeof(r) - 8));
	CHECKF(r.outcome == outcome, "record: %s, not %s",
	       bez_outcome_name(r.outcome), bez_outcome_name(outcome));
	CHECK_EQ(r.action, BEZ_ACTION_SHUTDOWN);
	CHECK_EQ(r.why, e->why);
	CHECK(matrix_is_told(c, r.addr));
	CHECK_EQ(r.width, e->lost);
	CHECK(!strcmp(r.name, "matrix"));
}

static void see_end(const struct matrix_cell *c, int status)
{
	const struct matrix_outcome *o = c->expect.outcome;
	char byte;

	/* skipped, and so it did not get to its end */
	if (!matrix_link->made && WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	if (o->end != END_DIED && o->end != END_SHUT) {
		CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
		       "the victim ended with %#x", status);
		return;
	}
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == o->signal,
	       "the victim ended with %#x", status);
	if (o->end == END_DIED)
		return;
	lseek(matrix_link->records, 0, SEEK_SET);
	one_record(c, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	one_record(c, o->outcome);
	CHECK_EQ(read(matrix_link->records, &byte, 1), 0);
}

void matrix_keep(void)
{
	const struct matrix_cell *c = tap_data();
	struct matrix_link *l;
	int status;
	long before;
	pid_t pid;

	if (!c->expect.outcome)
		tap_skip("why-not: %s", c->expect.reason);
	if (access("/proc/sys/vm/memory_failure_recovery", F_OK) || geteuid())
		tap_skip("why-not: no memory failure here, or not root");
	if (c->injection->meet)
		lab_need_mce();
	matrix_link = l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(l != MAP_FAILED && matrix_bytes);
	CHECK_EQ(pipe2(l->ask, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(l->answer, O_CLOEXEC), 0);
	l->records = memfd_create("records", MFD_CLOEXEC);
	CHECK(l->records > 0);
	before = matrix_corrupted();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(l->ask[0]);
		close(l->answer[1]);
		matrix_victim(c);
		_exit(0);
	}
	close(l->ask[1]);
	close(l->answer[0]);
	serve(c);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (l->path[0]) {
		swapoff(l->path);	/* if it was that */
		unlink(l->path);
	}
	see_loss(c, before);
	give_back(c, before);
	see_end(c, status);
}
