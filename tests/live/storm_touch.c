/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "storm_touch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

struct touched touched;

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t watching;

/* What nothing saved comes here. */
static void former(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (watching)
		siglongjmp(back, 1);
	signal(sig, SIG_DFL);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), sig, info);
}

void touch_install(void)
{
	struct sigaction action = { .sa_sigaction = former };

	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
}

int touch_in_child;

static void is_lost(struct area *a, size_t offset)
{
	const struct area_page *page = &a->page[offset / a->width];
	const char *why;

	/* a real loss is one for all who have the page: a child that was made
	 * before it has not counted it */
	if (!area_may_be_lost(a) ||
	    (!page->lost && !(touch_in_child && live_is_real()))) {
		why = bez_outcome_name(see_event(a->at + offset).why);
		CHECKF(0, "kind %d, policy %d, offset %#zx, lost %u times: %s",
		       a->kind, a->policy, offset, page->lost, why);
	}
	touched.lost++;
}

static void is_right(struct area *a, size_t offset, unsigned char byte,
		     uint32_t seq)
{
	CHECKF(area_right(a, offset, byte, seq),
	       "read %#x: kind %d, policy %d, offset %#zx, seq %u", byte,
	       a->kind, a->policy, offset, seq);
	touched.read++;
}

int touch_plainly(struct area *a, size_t offset, int store,
		  unsigned char *ret_byte)
{
	volatile unsigned char *at = a->at + offset;

	if (sigsetjmp(back, 1)) {
		watching = 0;
		touched.former++;
		return 0;
	}
	watching = 1;
	if (store)
		*at = a->copy[offset];
	*ret_byte = *at;
	watching = 0;
	return 1;
}

static void plainly(struct area *a, size_t offset, int store)
{
	uint32_t seq = area_seq(a, offset);
	unsigned char byte = 0;

	if (touch_plainly(a, offset, store, &byte))
		is_right(a, offset, byte, seq);
	else
		is_lost(a, offset);
}

void touch_in_scope(struct area *a, size_t offset, int store)
{
	uint32_t seq = area_seq(a, offset);
	unsigned char byte = 0;
	int got;

	BEZ_TRY {
		got = touch_plainly(a, offset, store, &byte);
	} BEZ_CATCH(lost) {
		watching = 0;
		touched.caught++;
		CHECK(lost->addr == a->at + offset - offset % a->width);
		CHECK_EQ(lost->width, a->width);
		CHECK(lost->touched == a->at + offset);
		CHECK_EQ(lost->region, a->region);
		CHECK(area_degrades(a));
		is_lost(a, offset);
		return;
	}
	if (got)
		is_right(a, offset, byte, seq);
	else
		is_lost(a, offset);
}

/* From @offset on to the end of its page; the bytes that came are right. */
static void by_copy(struct area *a, size_t offset)
{
	uint32_t seq = area_seq(a, offset);
	size_t len = 4096 - offset % 4096, left, i;
	unsigned char to[4096];

	left = bez_copy(to, a->at + offset, len);
	touched.copies += left != 0;
	for (i = 0; i < len - left; i++)
		is_right(a, offset + i, to[i], seq);
	if (left)
		is_lost(a, offset + len - left);
}

/* The kernel may be asked in the moment in which a page is put in place: EFAULT
 * says nothing then. */
static void by_system_call(struct area *a, size_t offset, const int *pipe)
{
	uint32_t seq = area_seq(a, offset);
	unsigned char byte;
	ssize_t r = write(pipe[1], a->at + offset, 1);

	if (r == 1) {
		CHECK_EQ(read(pipe[0], &byte, 1), 1);
		is_right(a, offset, byte, seq);
	} else {
		CHECK(r == -1 && errno == EFAULT);
	}
}

void touch_it(struct area *a, size_t page, int scopes, uint64_t draw,
	      const int *pipe)
{
	size_t offset = page * a->width + (draw >> 16) % a->width;

	switch (draw % 16) {
	case 0:
		by_copy(a, offset);
		break;
	case 1:
		by_system_call(a, offset, pipe);
		break;
	default:
		if (scopes)
			touch_in_scope(a, offset, draw % 16 < 5);
		else
			plainly(a, offset, draw % 16 < 5);
	}
}
