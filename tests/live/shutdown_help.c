/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "shutdown_help.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct told *told;
int records;
unsigned char *at;
size_t page;

void prepare(void)
{
	page = live_page();
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(told != MAP_FAILED);
	records = memfd_create("records", MFD_CLOEXEC);
	CHECK(records > 0);
}

void begin(struct bez_options *options)
{
	struct bez_options usual = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_status s = { .size = sizeof(s) };
	bez_region_t region;

	options = options ? options : &usual;
	/* a notice leaves records of its own */
	options->flags |= BEZ_START_NO_EARLY_KILL;
	options->record_fd = records;
	CHECK_EQ(bez_start(options), 0);
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_SHUTDOWN;
	policy.name = "the heart";
	at = live_pages(2);
	CHECK_EQ(bez_region_add(at, 2 * page, &policy, &region), 0);
	CHECK_EQ(bez_status(&s), 0);
	atomic_store(&told->worker, (uint32_t)s.worker_tid);
}

void lose(void)
{
	live_poison(at);
	atomic_store(&told->lost, (uint64_t)at + 7);
	live_read(at + 7);
	_exit(1);			/* it went on */
}

int end_of(void (*child)(void))
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		/* one that does not end goes with us */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		child();
		_exit(2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

void expect_record(int fd, uint32_t outcome, struct bez_record *r)
{
	CHECK_EQ(read(fd, r, sizeof(*r)), sizeof(*r));
	CHECK_EQ(r->digest, bez_digest(r, sizeof(*r) - 8));
	CHECKF(r->outcome == outcome, "%s, not %s",
	       bez_outcome_name(r->outcome), bez_outcome_name(outcome));
	CHECK_EQ(r->action, BEZ_ACTION_SHUTDOWN);
	CHECK(!strcmp(r->name, "the heart"));
}

void expect_records(uint32_t outcome)
{
	struct bez_record first, last;

	lseek(records, 0, SEEK_SET);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BEGUN, &first);
	expect_record(records, outcome, &last);
	CHECK_EQ(first.why, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(last.why, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(first.addr, last.addr);
	CHECK_EQ(first.tid, last.tid);
	CHECK(first.took_ns <= last.took_ns);
	CHECK_EQ(read(records, &first, 1), 0);
}

void say(uint32_t digit)
{
	atomic_store(&told->hooks, atomic_load(&told->hooks) * 10 + digit);
}

void hook(const struct bez_event *loss, void *arg)
{
	say((uint32_t)(uintptr_t)arg);
	atomic_store(&told->tid, (uint32_t)syscall(SYS_gettid));
	atomic_store(&told->addr, loss->addr);
	atomic_store(&told->outcome, loss->outcome);
	prctl(PR_GET_NAME, told->comm);
}

void add(bez_hook_fn fn, uintptr_t arg)
{
	CHECK_EQ(bez_shutdown_hook(fn, (void *)arg), 0);
}
