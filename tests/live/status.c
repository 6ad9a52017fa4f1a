/* SPDX-License-Identifier: MIT */
/*
 * bez_start(), bez_stop(), bez_status(): what they refuse, that they leave
 * everything as they found it, and that nothing in between touches the
 * process's SIGBUS action.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"

/* struct kernel_sigaction: nothing that the libc does is in between */
struct action {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

static struct action action_now(void)
{
	struct action now;

	CHECK_EQ(syscall(SYS_rt_sigaction, SIGBUS, NULL, &now, 8), 0);
	return now;
}

static void same_action(struct action a, struct action b)
{
	CHECK_EQ(a.handler, b.handler);
	CHECK_EQ(a.flags, b.flags);
	CHECK_EQ(a.restorer, b.restorer);
	CHECK_EQ(a.mask, b.mask);
}

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct bez_status status_now(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	return status;
}

/* --------------------------------------------------------- linked, not used */

static void linked_only(void)
{
	struct action now = action_now();
	struct bez_status status = status_now();
	stack_t stack;

	CHECK_EQ(now.handler, (uint64_t)SIG_DFL);
	CHECK_EQ(now.flags, 0);
	CHECK_EQ(status.started, 0);
	CHECK_EQ(status.installed, 0);
	CHECK_EQ(status.worker_tid, 0);
	CHECK_EQ(status.threads, 0);
	CHECK_EQ(live_threads(), 1);
	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	CHECK_EQ(stack.ss_flags, SS_DISABLE);
	CHECK_EQ(bez_stop(), -ESRCH);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 0);
}

/* ---------------------------------------------------------------- answers */

static void answers(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_status status = { .size = 2 };
	struct action before = action_now();
	struct {
		struct bez_options options;
		uint32_t more;
	} newer = { .options = BEZ_OPTIONS_INIT };

	options.flags = 0x80;
	CHECK_EQ(bez_start(&options), -EINVAL);
	options.flags = 0;
	options.reserved = 1;
	CHECK_EQ(bez_start(&options), -EINVAL);
	newer.options.size = sizeof(newer);
	newer.more = 1;
	CHECK_EQ(bez_start(&newer.options), -E2BIG);
	same_action(before, action_now());
	CHECK_EQ(live_threads(), 1);

	newer.more = 0;
	CHECK_EQ(bez_start(&newer.options), 0);
	CHECK_EQ(bez_start(NULL), -EALREADY);
	CHECK_EQ(bez_status(NULL), -EINVAL);
	CHECK_EQ(bez_status(&status), -EINVAL);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(bez_stop(), -ESRCH);
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void started(void)
{
	uint32_t flags = *(const uint32_t *)tap_data();
	struct bez_status status;
	char path[64], name[32] = "";
	FILE *f;

	live_start(flags);
	status = status_now();
	CHECK_EQ(status.size, sizeof(status));
	CHECK_EQ(status.started, 1);
	CHECK_EQ(status.installed, 1);
	CHECK_EQ(status.regions, 0);
	CHECK_EQ(status.faults, 0);
	CHECK_EQ(status.placement == BEZ_PLACEMENT_MREMAP,
		 !!(flags & BEZ_START_NO_UFFD));
	CHECK_EQ(status.memory_failure,
		 !access("/proc/sys/vm/memory_failure_recovery", F_OK));
	if (flags & BEZ_START_NO_WORKER) {
		CHECK_EQ(status.worker_tid, 0);
		CHECK_EQ(status.early_notice, 0);
		CHECK_EQ(status.threads, 1);
		CHECK_EQ(live_threads(), 1);
		return;
	}
	CHECK_EQ(status.early_notice, !(flags & BEZ_START_NO_EARLY_KILL));
	CHECK_EQ(status.threads, 2);
	CHECK_EQ(live_threads(), 2);
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm",
		 status.worker_tid);
	f = fopen(path, "r");
	CHECK(f && fgets(name, sizeof(name), f));
	CHECK(!strcmp(name, "bezoar\n"));
	fclose(f);
}

/* A smaller struct, of an older header, gets what fits. */
static void older_status(void)
{
	struct bez_status status;

	live_start(0);
	memset(&status, 0x5a, sizeof(status));
	status.size = offsetof(struct bez_status, installed);
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.started, 1);
	CHECK_EQ(status.installed, 0x5a5a5a5a);
}

/* ------------------------------------------------------------------- busy */

static void busy_with_regions(void)
{
	unsigned char *at = live_pages(1);
	bez_region_t region;
	struct action ours;

	live_start(0);
	ours = action_now();
	region = live_region(at, live_page(), NULL, "page");
	CHECK_EQ(bez_stop(), -EBUSY);
	same_action(ours, action_now());
	CHECK_EQ(status_now().threads, 2);
	CHECK_EQ(status_now().regions, 1);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void nothing(int sig)
{
	(void)sig;
}

static void busy_with_later_handler(void)
{
	struct sigaction later = { .sa_handler = nothing }, ours, now;

	live_start(0);
	CHECK_EQ(sigaction(SIGBUS, &later, &ours), 0);
	CHECK_EQ(status_now().installed, 0);
	CHECK_EQ(bez_stop(), -EBUSY);
	CHECK_EQ(status_now().started, 1);
	CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
	CHECK(now.sa_handler == nothing);
	CHECK_EQ(sigaction(SIGBUS, &ours, NULL), 0);
	CHECK_EQ(status_now().installed, 1);
	CHECK_EQ(bez_stop(), 0);
}

/* ---------------------------------------------------- the former action */

static void restored(void)
{
	int bits;

	for (bits = 0; bits < 64; bits++) {
		struct sigaction former = { .sa_handler = nothing };
		struct action before;

		former.sa_flags = (bits & 1 ? SA_SIGINFO : 0) |
				  (bits & 2 ? SA_NODEFER : 0) |
				  (bits & 4 ? SA_RESETHAND : 0) |
				  (bits & 8 ? SA_ONSTACK : 0) |
				  (bits & 16 ? SA_RESTART : 0);
		if (bits & 32) {
			sigaddset(&former.sa_mask, SIGHUP);
			sigaddset(&former.sa_mask, SIGSEGV);
			sigaddset(&former.sa_mask, SIGRTMAX);
		}
		CHECK_EQ(sigaction(SIGBUS, &former, NULL), 0);
		before = action_now();
		live_start(BEZ_START_NO_WORKER);
		CHECK(action_now().handler != before.handler);
		CHECK_EQ(bez_stop(), 0);
		same_action(before, action_now());
	}
}

static void restored_default_and_ignore(void)
{
	struct action before;

	before = action_now();
	live_start(0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(action_now().handler, before.handler);
	signal(SIGBUS, SIG_IGN);
	before = action_now();
	live_start(0);
	CHECK_EQ(bez_stop(), 0);
	same_action(before, action_now());
}

/* SA_RESETHAND: after its one call the action is the default. */
static void restored_spent(void)
{
	struct sigaction former = { .sa_handler = nothing,
				    .sa_flags = SA_RESETHAND };

	CHECK_EQ(sigaction(SIGBUS, &former, NULL), 0);
	live_start(0);
	raise(SIGBUS);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(action_now().handler, (uint64_t)SIG_DFL);
}

/* The right signal: SIGBUS, and no other. */
static void only_sigbus(void)
{
	struct sigaction before[65], now;
	int sig;

	for (sig = 1; sig < 65; sig++)
		sigaction(sig, NULL, &before[sig]);
	live_start(0);
	for (sig = 1; sig < 65; sig++) {
		if (sigaction(sig, NULL, &now))
			continue;
		CHECKF((now.sa_handler != before[sig].sa_handler) ==
		       (sig == SIGBUS), "signal %d", sig);
	}
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------------ leaks */

struct holdings {
	int fds, threads, mappings;
	long data_kb;
};

static struct holdings holdings(void)
{
	struct holdings h = { descriptors(), (int)live_threads_soon(1), 0, 0 };
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		h.mappings++;
	fclose(f);
	f = fopen("/proc/self/status", "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmData: %ld", &h.data_kb);
	fclose(f);
	return h;
}

static void round_trip(unsigned char *at, const struct bez_source *from,
		       uint32_t flags)
{
	bez_region_t region;

	live_start(flags);
	/* first: in a region the worker may replace it at any time */
	live_poison(at);
	region = live_region(at, live_page(), from, "page");
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void no_leaks(void)
{
	unsigned char *copy = live_pages(1), *at[32];
	struct bez_source from = bez_source_mirror(copy);
	struct holdings before, after;
	int i;

	/* not one page again and again: that looks like failing memory */
	for (i = 0; i < 32; i++)
		at[i] = live_pages(1);
	for (i = 0; i < 64; i++)
		round_trip(at[i % 32], &from, i & 1 ? BEZ_START_NO_UFFD : 0);
	before = holdings();
	for (i = 0; i < 200; i++)
		round_trip(at[i % 32], &from, i & 1 ? BEZ_START_NO_UFFD : 0);
	after = holdings();
	CHECK_EQ(after.fds, before.fds);
	CHECK_EQ(after.threads, before.threads);
	CHECK_EQ(after.mappings, before.mappings);
	CHECK(before.data_kb > 0);
	CHECK_EQ(after.data_kb, before.data_kb);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
	live_start(0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 264);
}

/* -------------------------------------------- one sigaction, at the start */

/* From here on a sigaction() of SIGBUS that sets something kills. */
static void forbid_sigaction(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigaction, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIGBUS, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0))
		tap_skip("no seccomp filters here: %s", strerror(errno));
}

static void *attach_and_detach(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	live_read(arg);
	CHECK_EQ(bez_thread_detach(), 0);
	return NULL;
}

static unsigned char *mended;

static void mend(int sig)
{
	(void)sig;
	chain_mend(mended);
}

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	(void)offset;
	live_fill(dst, len, 0);
	return 0;
}

/* Both pages at @at are lost: to poison takes a sigaction(). */
static void everything_but_start(unsigned char *at)
{
	struct bez_source from[2] = {
		bez_source_callback(fill, NULL),
		bez_source_deferred(fill, NULL, 20000000000u),
	};
	bez_region_t region;
	pthread_t thread;
	int i;

	for (i = 0; i < 2; i++, at += live_page()) {
		region = live_region(at, live_page(), &from[i], "page");
		CHECK_EQ(pthread_create(&thread, NULL, attach_and_detach, at),
			 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		CHECK_EQ(bez_region_remove(region), 0);
		mended = chain_hole();
		chain_load(mended + 100);
		raise(SIGBUS);
	}
	status_now();
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 4);
}

static void one_sigaction(void)
{
	unsigned char *at = live_pages(2);

	live_poison(at);
	live_poison(at + live_page());
	signal(SIGBUS, mend);
	chain_start();
	forbid_sigaction();
	everything_but_start(at);
}

/* The filter itself is right. */
static void a_second_sigaction(void)
{
	forbid_sigaction();
	CHECK(1);
	signal(SIGBUS, mend);
}

static const uint32_t all = 0, no_worker = BEZ_START_NO_WORKER,
	no_early = BEZ_START_NO_EARLY_KILL, no_uffd = BEZ_START_NO_UFFD;

static const struct tap_case cases[] = {
	{ .name = "linked but not started", .run = linked_only },
	{ .name = "answers", .run = answers },
	{ .name = "started", .run = started, .data = &all },
	{ .name = "started without worker", .run = started,
	  .data = &no_worker },
	{ .name = "started without early kill", .run = started,
	  .data = &no_early },
	{ .name = "started without userfaultfd", .run = started,
	  .data = &no_uffd },
	{ .name = "status of an older header", .run = older_status },
	{ .name = "busy: regions", .run = busy_with_regions },
	{ .name = "busy: later handler", .run = busy_with_later_handler },
	{ .name = "restored: every flag", .run = restored },
	{ .name = "restored: default and ignore",
	  .run = restored_default_and_ignore },
	{ .name = "restored: spent", .run = restored_spent },
	{ .name = "SIGBUS and no other signal", .run = only_sigbus },
	{ .name = "no leaks", .run = no_leaks },
	{ .name = "one sigaction", .run = one_sigaction },
	{ .name = "one sigaction: a second is seen",
	  .run = a_second_sigaction, .want_signal = SIGSYS },
};
TAP_MAIN(cases)
