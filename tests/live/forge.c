/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "forge.h"
#include "uapi.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

volatile int forge_calls;
siginfo_t forge_seen;

int forge(int code, const void *addr, int lsb)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = code;
	info.si_addr = (void *)(uint64_t)addr;
	info.si_addr_lsb = (short)lsb;
	return (int)syscall(SYS_rt_tgsigqueueinfo, getpid(),
			    syscall(SYS_gettid), SIGBUS, &info);
}

static void former(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	forge_seen = *info;
	forge_calls++;
}

void forge_former(void)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
}

struct bez_event forge_last(void)
{
	struct bez_event event[64];
	uint64_t seq = 0;
	int n, last = 0;

	while ((n = bez_events(&seq, event, 64)) > 0)
		last = n;
	CHECK(last);
	return event[last - 1];
}

static int find_event(void *arg)
{
	struct bez_event *want = arg, event;
	uint64_t seq = 0;

	while (bez_events(&seq, &event, 1) > 0) {
		if (event.tid != want->tid || event.outcome != want->outcome)
			continue;
		*want = event;
		return 1;
	}
	return 0;
}

struct bez_event forge_event(int32_t tid, enum bez_outcome outcome)
{
	struct bez_event event = { .tid = tid, .outcome = (uint16_t)outcome };

	chain_until(find_event, &event, bez_outcome_name(outcome));
	return event;
}

unsigned char *forge_region(size_t pages, bez_region_t *ret_region)
{
	unsigned char *at = live_pages(pages), *mirror = live_pages(pages);
	struct bez_source from = bez_source_mirror(mirror);

	live_fill(mirror, pages * live_page(), 1);
	*ret_region = live_region(at, pages * live_page(), &from, "forged");
	return at;
}
