/* SPDX-License-Identifier: MIT */
/*
 * What a child of fork(2) does with the memory of a case, and what that means
 * for its parent.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

/* Is it in a child as it is here? */
static int is_inherited(const struct camp *m)
{
	int advice = camp_advice(&m->c);

	if (advice == MADV_DONTFORK || advice == MADV_WIPEONFORK)
		return 0;
	/* who says that it is his alone keeps his children from it */
	return !camp_is_shared(&m->c) || m->shared_flags == BEZ_SHARED_FENCED;
}

/* A child of a mapping of a file without own pages gets no copy of the page
 * table, and so no marker: it reads the file, which is good. */
static int may_lack_markers(const struct camp *m)
{
	return (m->c.kind == CAMP_MEMFD || m->c.kind == CAMP_HUGE_MEMFD) &&
	       !live_is_real();
}

static int will_touch(const struct camp *m, size_t page)
{
	return !camp_refusal(m, page) &&
	       !(may_lack_markers(m) &&
		 memcmp(m->source + page * m->width, m->truth + page * m->width,
			m->width));
}

static int will_lose(const struct camp *m, size_t page)
{
	return !camp_refusal(m, page) && !camp_is_file(&m->c);
}

static void look(struct camp *m, size_t page)
{
	CHECKF(!memcmp(m->at + page * m->width, camp_expected(m, page),
		       m->width), "page %zu is wrong in a child", page);
	camp_touched(m, page);
}

static void live_as_child(struct camp *m, size_t page, size_t other)
{
	if (m->c.source == CAMP_DEFERRED)
		CHECK_EQ(bez_thread_attach(), 0);
	if (camp_advice(&m->c) == MADV_WIPEONFORK)
		CHECK(!memcmp(m->at, m->zeros, m->len));
	if (!is_inherited(m))
		return;
	camp_check(m, 0);
	if (will_touch(m, page))
		look(m, page);
	if (will_lose(m, other) && camp_lose(m, other))
		look(m, other);
	camp_check(m, 0);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	return status;
}

void camp_do_fork(struct camp *m, const struct camp_step *s, size_t page)
{
	size_t other = (page + 1 + s->arg % m->pages) % m->pages;
	pid_t pid = fork();

	CHECKF(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		live_as_child(m, page, other);
		_exit(0);
	}
	CHECK_EQ(wait_for(pid), 0);
	if (!camp_is_shared(&m->c) || !is_inherited(m))
		return;
	/* what it did there, it did here */
	if (will_touch(m, page))
		camp_touched(m, page);
	if (will_lose(m, other)) {
		m->lost[other] = 1;
		camp_touched(m, other);
	}
}

void camp_do_die(struct camp *m, const struct camp_step *s, size_t page)
{
	int status;
	pid_t pid;

	(void)s;
	if (!m->lost[page] || !camp_refusal(m, page) || !is_inherited(m) ||
	    may_lack_markers(m))
		return;
	pid = fork();
	CHECKF(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		if (m->c.source == CAMP_DEFERRED)
			bez_thread_attach();
		live_read(m->at + page * m->width);
		_exit(0);
	}
	status = wait_for(pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	       "status %#x", (unsigned int)status);
}
