/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "replace_see.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "uapi.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t watching;

static void say_last(void)
{
	uint64_t seq = 0;
	struct bez_event e = { 0 };

	while (bez_events(&seq, &e, 1) == 1)
		continue;
	tap_diag("last event: %s (%s), address %#llx, depth %u",
		 bez_outcome_name(e.outcome), bez_outcome_name(e.why),
		 (unsigned long long)e.addr, e.depth);
}

static void former(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (watching)
		siglongjmp(back, 1);
	/* nobody expected this one: say why, and die of it as without us */
	say_last();
	signal(sig, SIG_DFL);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), sig,
		info);
}

void see_install(void)
{
	struct sigaction action = { .sa_sigaction = former };

	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
}

void see_start(uint32_t flags)
{
	live_start(flags | BEZ_START_NO_EARLY_KILL);
}

int see_lost(const void *addr, unsigned char *ret_byte)
{
	unsigned char byte;

	if (sigsetjmp(back, 1)) {
		watching = 0;
		return 1;
	}
	watching = 1;
	byte = live_read(addr);
	watching = 0;
	*ret_byte = byte;
	return 0;
}

struct bez_event see_event(const void *addr)
{
	enum { some = 64 };
	uintptr_t page = (uintptr_t)addr / live_page();
	struct bez_event events[some], found = { 0 };
	uint64_t seq = 0;
	int got, i;

	while ((got = bez_events(&seq, events, some)) > 0)
		for (i = 0; i < got; i++)
			if (events[i].addr / live_page() == page)
				found = events[i];
	CHECKF(found.seq, "no event about %p", addr);
	return found;
}

void see_refused(const void *addr, enum bez_outcome why)
{
	unsigned char byte = 0;
	struct bez_event e;
	int round;

	for (round = 0; round < 2; round++) {
		CHECKF(see_lost(addr, &byte), "it could be read: %d", byte);
		e = see_event(addr);
		CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
		CHECKF(e.why == why, "\"%s\", not \"%s\"",
		       bez_outcome_name(e.why), bez_outcome_name(why));
	}
}

size_t see_wrong(const unsigned char *at, size_t from, size_t to,
		 unsigned int seed)
{
	size_t wrong = 0;

	for (; from < to; from++)
		wrong += live_read(at + from) != live_byte(from, seed);
	return wrong;
}

void see_report(const void *addr, int si_code, int lsb)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = si_code };

	info.si_addr = (void *)addr;
	info.si_addr_lsb = (short)lsb;
	CHECK_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid),
			 SIGBUS, &info), 0);
}

void see_poison(void *addr)
{
	if (!live_is_real()) {
		live_poison(addr);
		return;
	}
	live_read(addr);
	CHECKF(!madvise(addr, live_page(), MADV_HWPOISON),
	       "MADV_HWPOISON: %s", strerror(errno));
}

/* By a child that shares the page, as live_poison() does; but whoever reads it
 * all the time may have had it replaced before we can look. */
static void poison_by_child(void *addr)
{
	uint64_t before = bez_outcome_count(BEZ_OUTCOME_REPLACED);
	int tries = 0, status;

	do {
		pid_t pid;

		/* the kernel passes over a page that somebody reads by way of
		 * it just then */
		CHECKF(tries++ < 5000, "MADV_HWPOISON did not take %p", addr);
		pid = _Fork();
		CHECKF(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			signal(SIGBUS, SIG_DFL);
			madvise(addr, live_page(), MADV_HWPOISON);
			_exit(0);
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
	} while (bez_outcome_count(BEZ_OUTCOME_REPLACED) == before &&
		 !live_lost(addr));
}

void see_poison_at_once(void *addr)
{
	unsigned char *aside;

	if (live_is_real()) {
		poison_by_child(addr);
		return;
	}
	aside = mmap(NULL, live_page(), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(aside != MAP_FAILED);
	live_poison(aside);
	CHECK(mremap(aside, live_page(), live_page(),
		     MREMAP_MAYMOVE | MREMAP_FIXED, addr) == addr);
}

static void without_soft_dirty(char *flags)
{
	char *sd = strstr(flags, " sd");

	if (sd)
		memmove(sd, sd + 3, strlen(sd + 3) + 1);
	flags[strcspn(flags, "\n")] = '\0';
}

struct see_map see_map(const void *addr)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	struct see_map map = { .pkey = -1 };
	int inside = 0, done = 0;
	char line[512];

	CHECK(f);
	while (!done && fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		int at = 0;

		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &start, &end,
			   map.perms, &at) == 3 && at) {
			inside = (unsigned long)addr >= start &&
				 (unsigned long)addr < end;
			if (inside)
				sscanf(line + at, "%95[^\n]", map.name);
		} else if (!inside) {
			continue;
		} else if (!strncmp(line, "VmFlags:", 8)) {
			snprintf(map.flags, sizeof(map.flags), "%.150s",
				 line + 8);
			without_soft_dirty(map.flags);
			done = 1;
		} else {
			sscanf(line, "AnonHugePages: %lu", &map.huge_kb);
			sscanf(line, "Locked: %lu", &map.locked_kb);
			sscanf(line, "ProtectionKey: %d", &map.pkey);
		}
	}
	fclose(f);
	CHECKF(done, "no mapping at %p", addr);
	return map;
}

size_t see_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	size_t lines = 0;
	int c;

	CHECK(f);
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

size_t see_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 3;		/* . and .. and the folder itself */
}

unsigned long see_kb(const char *line)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kb = 0;
	char text[256];
	int found = 0;

	CHECK(f);
	while (!found && fgets(text, sizeof(text), f)) {
		found = !strncmp(text, line, strlen(line));
		if (found)
			kb = strtoul(text + strlen(line), NULL, 10);
	}
	fclose(f);
	CHECKF(found, "no %s in /proc/self/status", line);
	return kb;
}

size_t see_memory(void)
{
	struct sysinfo info;

	CHECK_EQ(sysinfo(&info), 0);
	return info.totalram * info.mem_unit;
}

double see_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
