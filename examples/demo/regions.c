/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "regions.h"

#include <bezoar/bezoar.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "escape.h"

_Thread_local sigjmp_buf *escape;

static const struct memory *the_memory;	/* for not_replaced() */

static void say(const char *text)
{
	/* nowhere to complain */
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

/* What bezoar tried for the page at @addr. */
static enum bez_outcome why_not(uintptr_t addr)
{
	enum bez_outcome why = BEZ_OUTCOME_NONE;
	struct bez_event e;
	uint64_t seq = 0;

	while (bez_events(&seq, &e, 1) == 1)
		if (e.action == BEZ_ACTION_DEFAULT && e.addr == addr)
			why = e.why;
	return why;
}

static void say_what(const siginfo_t *info)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	const struct memory *m = the_memory;
	size_t page = (at - (uintptr_t)m->base) / m->page;
	enum bez_outcome why;

	if (info->si_code <= 0) {
		say("\ndemo: somebody has sent SIGBUS\n");
		return;
	}
	say("\ndemo: a page of ");
	if (at < (uintptr_t)m->base || page >= m->pages)
		say("memory that is not registered");
	else if (page >= m->file_pages)
		say("the index");
	else
		say(memory_file(m, page)->path);
	why = why_not(at);
	say(" is lost for good: ");
	say(bez_outcome_name(why));
	say("\n");
	say(bez_outcome_advice(why));
	say("\n");
}

static atomic_int sent;			/* by the handler */

int regions_sent(void)
{
	return atomic_load(&sent);
}

/*
 * The SIGBUS action that was there before bezoar: it gets what could not be
 * replaced, and what is not about our memory. The default would be to die
 * without a word.
 */
static void not_replaced(int sig, siginfo_t *info, void *context)
{
	static atomic_int spoken;
	const struct memory *m = the_memory;
	size_t page = ((uintptr_t)info->si_addr - (uintptr_t)m->base) / m->page;

	(void)sig;
	(void)context;
	if (info->si_code > 0 && page < m->pages)
		m->lost[page] = 1;
	if (!atomic_exchange(&spoken, 1))
		say_what(info);
	/* to the process, and any thread may have got it */
	if (info->si_code <= 0) {
		atomic_store(&sent, 1);
		return;
	}
	if (escape)
		siglongjmp(*escape, 1);
	_exit(1);
}

static int add(const struct memory *m, size_t first, size_t pages,
	       const char *name, const struct bez_source *from, int digests)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	int r;

	policy.name = name;
	policy.source = from;
	policy.digests = digests ? m->digests + first : NULL;
	r = bez_region_add(memory_page(m, first), pages * m->page, &policy,
			   &region);
	if (r)
		fprintf(stderr, "demo: bez_region_add(%s): %s\n", name,
			strerror(-r));
	return r;
}

static int add_file(const struct memory *m, const struct file *f, int digests)
{
	struct bez_source from = bez_source_file(f->fd, 0);
	size_t len = strlen(f->path);

	/* the last page is seldom full */
	from.flags = BEZ_SOURCE_EOF_ZERO;
	return add(m, f->first, f->pages,
		   f->path + (len > BEZ_NAME_MAX ? len - BEZ_NAME_MAX : 0),
		   &from, digests);
}

int regions_protect(const struct memory *m, int digests)
{
	struct bez_source mirror = bez_source_mirror(m->mirror);
	struct sigaction former = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct bez_options start = BEZ_OPTIONS_INIT;
	size_t i;
	int r;

	the_memory = m;
	former.sa_sigaction = not_replaced;
	sigaction(SIGBUS, &former, NULL);
	/* here each page shall be lost to a thread that touches it: none is to
	 * be replaced before, on the word of an early notice */
	start.flags = BEZ_START_NO_EARLY_KILL;
	r = bez_start(&start);
	if (r) {
		fprintf(stderr, "demo: bez_start: %s\n", strerror(-r));
		return -1;
	}
	for (i = 0; i < m->file_count; i++)
		if (add_file(m, &m->files[i], digests))
			return -1;
	return add(m, m->file_pages, m->pages - m->file_pages, "index",
		   &mirror, digests) ? -1 : 0;
}
