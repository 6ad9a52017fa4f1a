/* SPDX-License-Identifier: MIT */
/*
 * Each case in a process of its own; and one that failed made small: fewer
 * steps, plain attributes, fewer pages, one thread, as long as it still fails.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define HANG_S		60		/* without a step */
#define HANG_AGAIN_S	10		/* of one that has failed before */
#define TRIES		4		/* at least: some failures are races */
#define MOST_TRIES	60
#define SHRINK_S	40.0

static int patience_s = HANG_S;

/* 0: it ended. Slow machines take steps slowly, but they take them. */
static int wait_for_end(int pidfd, const struct camp_progress *progress)
{
	struct pollfd end = { .fd = pidfd, .events = POLLIN };
	uint32_t was = 0, now = 1;

	while (was != now) {
		if (poll(&end, 1, patience_s * 1000) == 1)
			return 0;
		was = now;
		now = atomic_load(&progress->step) + 2;
	}
	return -1;
}

static void judge(int status, int hung, struct camp_end *end)
{
	int code = WEXITSTATUS(status);

	if (hung)
		snprintf(end->why, sizeof(end->why), "it hangs");
	else if (WIFSIGNALED(status))
		snprintf(end->why, sizeof(end->why), "it died of %s",
			 strsignal(WTERMSIG(status)));
	else if (code)
		snprintf(end->why, sizeof(end->why), "%s", code == 99 ?
			 "a check failed" : "it ended with a bad status");
	end->failed = end->why[0] != 0;
}

struct camp_end camp_run_apart(const struct camp_case *c, int log)
{
	struct camp_progress *progress = mmap(NULL, sizeof(*progress),
					      PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct camp_end end = { 0 };
	int pidfd, status, hung;
	pid_t pid;

	CHECK(progress != MAP_FAILED);
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(log, 1);
		dup2(log, 2);
		tap_apart();
		camp_progress = progress;
		camp_run(c);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK(pidfd >= 0);
	hung = wait_for_end(pidfd, progress);
	if (hung)
		kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	close(pidfd);
	judge(status, hung, &end);
	end.step = atomic_load(&progress->step);
	end.losses = atomic_load(&progress->losses);
	end.refused = atomic_load(&progress->refused);
	munmap(progress, sizeof(*progress));
	return end;
}

/* ------------------------------------------------------------------- smaller */

struct hunt {
	struct camp_case *best;
	struct camp_end *end;
	uint32_t runs;
	uint32_t tries;			/* before it is said not to fail */
	double until;
};

/* Does @try fail, too? Then it is the best so far. */
static int still(struct hunt *h, const struct camp_case *try)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	uint32_t i;

	CHECK(log >= 0);
	for (i = 0; i < h->tries && see_seconds() < h->until; i++) {
		struct camp_end end;

		h->runs++;
		end = camp_run_apart(try, log);
		if (end.failed != 1)
			continue;
		close(log);
		*h->best = *try;
		*h->end = end;
		/* what came after it need not */
		if (end.step + 1 < h->best->steps)
			h->best->steps = end.step + 1;
		return 1;
	}
	close(log);
	return 0;
}

static void without(struct camp_case *c, uint32_t from, uint32_t count)
{
	c->steps -= count;
	memmove(&c->step[from], &c->step[from + count],
		(c->steps - from) * sizeof(c->step[0]));
}

static int fewer_steps(struct hunt *h)
{
	uint32_t count, from;
	int better = 0;

	for (count = h->best->steps; count; count /= 2)
		for (from = 0; from < h->best->steps;) {
			struct camp_case try = *h->best;

			without(&try, from, count < try.steps - from ? count :
				try.steps - from);
			if (still(h, &try))
				better = 1;
			else
				from += count;
		}
	return better;
}

static int plainer(struct hunt *h)
{
	struct camp_case try = *h->best;
	int better = 0, r;
	uint32_t i = 0;

	while ((r = camp_make_plain(&try, i)) >= 0) {
		if (r && still(h, &try))
			better = 1;	/* and once more, if it was a number */
		else
			i++;
		try = *h->best;
	}
	return better;
}

static int smaller_numbers(struct hunt *h)
{
	int better = 0;
	uint32_t i;

	for (i = 0; i < h->best->steps; i++) {
		struct camp_case try = *h->best;
		struct camp_step *s = &try.step[i];

		if (s->page >= try.pages) {
			s->page %= try.pages;
			better |= still(h, &try);
			try = *h->best;
			if (i >= try.steps)
				break;
		}
		if (s->arg) {
			s->arg = 0;
			better |= still(h, &try);
		}
	}
	return better;
}

/* How often does it fail at all? A race wants more patience. */
static void find_tries(struct hunt *h)
{
	struct camp_case same = *h->best;

	h->tries = MOST_TRIES;
	still(h, &same);
	still(h, &same);
	h->tries = h->runs * 2;
	if (h->tries < TRIES)
		h->tries = TRIES;
	if (h->tries > MOST_TRIES)
		h->tries = MOST_TRIES;
}

uint32_t camp_shrink(struct camp_case *c, struct camp_end *end)
{
	struct hunt h = { .best = c, .end = end,
			  .until = see_seconds() + SHRINK_S };

	patience_s = HANG_AGAIN_S;
	if (end->step + 1 < c->steps)
		c->steps = end->step + 1;
	find_tries(&h);
	while (see_seconds() < h.until &&
	       (fewer_steps(&h) | plainer(&h) | smaller_numbers(&h)))
		continue;
	patience_s = HANG_S;
	return h.runs;
}
