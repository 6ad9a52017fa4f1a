/* SPDX-License-Identifier: MIT */
/* A loss that the process can not do without brings it to an orderly end. */
#define _GNU_SOURCE
#include <elf.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shutdown_help.h"

#define STATUS 71

static uint64_t now_ns(void)
{
	struct timespec ts;

	CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ------------------------------------------------------------------- the end */

static void unprotected(void)
{
	at = live_pages(2);
	lose();
}

static void protected(void)
{
	begin(NULL);
	lose();
}

static void as_unprotected(void)
{
	int status;

	prepare();
	status = end_of(protected);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	/* the same core dump, if there is one */
	CHECK_EQ(status, end_of(unprotected));
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

/* -------------------------------------------------------------- its core dump */

#define NOTE_SIGINFO	0x53494749	/* NT_SIGINFO, Linux 3.7 */
#if defined(__x86_64__)
#define IP	16			/* of elf_gregset_t */
#else
#define IP	32
#endif

static char folder[] = "/tmp/bezoar-core-XXXXXX";

struct dump {
	siginfo_t info;
	uint64_t ip;			/* of the thread that died */
};

static void read_notes(const char *note, const char *end, struct dump *d)
{
	while (end - note >= (ptrdiff_t)sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *h = (const void *)note;
		const char *desc = note + sizeof(*h) + ((h->n_namesz + 3) & -4u);

		if (h->n_type == NOTE_SIGINFO)
			memcpy(&d->info, desc, sizeof(d->info));
		/* the first is of the thread that died */
		if (h->n_type == NT_PRSTATUS && !d->ip)
			d->ip = ((const struct elf_prstatus *)(const void *)
				 desc)->pr_reg[IP];
		note = desc + ((h->n_descsz + 3) & -4u);
	}
}

static struct dump read_dump(const char *path)
{
	const Elf64_Ehdr *head;
	const Elf64_Phdr *part;
	struct dump d = { 0 };
	FILE *f = fopen(path, "re");
	char *bytes;
	long len;
	int i;

	CHECK(f && !fseek(f, 0, SEEK_END));
	len = ftell(f);
	CHECK(len > (long)sizeof(*head));
	bytes = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fileno(f), 0);
	CHECK(bytes != MAP_FAILED);
	head = (const void *)bytes;
	part = (const void *)(bytes + head->e_phoff);
	for (i = 0; i < head->e_phnum; i++)
		if (part[i].p_type == PT_NOTE)
			read_notes(bytes + part[i].p_offset,
				   bytes + part[i].p_offset + part[i].p_filesz,
				   &d);
	CHECK_EQ(munmap(bytes, (size_t)len) | fclose(f), 0);
	return d;
}

static void dumps(void)
{
	struct rlimit l;

	CHECK_EQ(getrlimit(RLIMIT_CORE, &l), 0);
	l.rlim_cur = l.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_CORE, &l) | chdir(folder), 0);
	if (told->go)
		protected();
	unprotected();
}

static int dump_of(struct dump *ret_dump)
{
	char pattern[64];
	int status = end_of(dumps), got;
	glob_t found;

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	snprintf(pattern, sizeof(pattern), "%s/*", folder);
	got = !glob(pattern, 0, NULL, &found);
	if (got) {
		*ret_dump = read_dump(found.gl_pathv[0]);
		CHECK_EQ(unlink(found.gl_pathv[0]), 0);
		globfree(&found);
	}
	return got && WCOREDUMP(status);
}

/* Of the signal, with its siginfo, at the instruction that met the loss. */
static void as_unprotected_dump(void)
{
	struct dump was, is;
	uint64_t lost;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	tap_skip("a sanitizer's memory is too much for a dump");
#endif
	prepare();
	CHECK(mkdtemp(folder));
	if (!dump_of(&was)) {
		rmdir(folder);
		tap_skip("an unprotected process leaves no core dump in its folder: "
			 "see ulimit -Hc, and kernel.core_pattern");
	}
	lost = told->lost;
	CHECK_EQ(was.info.si_signo, SIGBUS);
	CHECK_EQ((uint64_t)was.info.si_addr, lost);
	told->go = 1;
	CHECK(dump_of(&is));
	CHECK_EQ(rmdir(folder), 0);
	CHECK_EQ(is.info.si_signo, SIGBUS);
	CHECK_EQ(is.info.si_code, was.info.si_code);
	CHECK_EQ((uint64_t)is.info.si_addr, told->lost);
	CHECK_EQ(is.info.si_addr_lsb, was.info.si_addr_lsb);
	CHECK(is.ip && is.ip == was.ip);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

static void former(int sig)
{
	(void)sig;
	atomic_store(&told->former, 1);
	_exit(3);
}

static void has_former(void)
{
	CHECK(signal(SIGBUS, former) != SIG_ERR);
	protected();
}

/* A handler may do anything; the end is the end. */
static void not_the_former(void)
{
	int status;

	prepare();
	status = end_of(has_former);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->former, 0);
}

static void exits(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_SHUTDOWN_EXIT;
	options.shutdown_status = STATUS;
	begin(&options);
	lose();
}

static void with_status(void)
{
	int status;

	prepare();
	status = end_of(exits);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

static void in_a_call(void)
{
	begin(NULL);
	live_poison(at);
	bez_recover(at, page);
	_exit(1);
}

static void recovers(void)
{
	int status;

	prepare();
	status = end_of(in_a_call);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

static void in_a_copy(void)
{
	char to[64];

	begin(NULL);
	live_poison(at);
	bez_copy(to, at, sizeof(to));
	_exit(1);
}

static void copies(void)
{
	int status;

	prepare();
	status = end_of(in_a_copy);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

static void unmapped(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_SEGV_DOOR | *(const uint32_t *)tap_data();
	options.shutdown_status = STATUS;
	begin(&options);
	CHECK_EQ(munmap(at, page), 0);
	live_read(at);
	_exit(1);
}

static const uint32_t dies = 0, exits_then = BEZ_START_SHUTDOWN_EXIT;

static void by_the_door(void)
{
	int status;

	prepare();
	status = end_of(unmapped);
	if (*(const uint32_t *)tap_data())
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
	else
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

/* ----------------------------------------------------------------- the hooks */

/* Normal context: whatever a program does. */
static void hook_allocates(const struct bez_event *loss, void *arg)
{
	FILE *f = tmpfile();

	(void)arg;
	if (f && fprintf(f, "%s\n", loss->name) == 10)
		say(9);
}

static void hooked(void)
{
	begin(NULL);
	add(hook, 1);
	add(hook_allocates, 0);
	add(hook, 2);
	add(hook, 3);
	lose();
}

static void in_order(void)
{
	int status;

	prepare();
	status = end_of(hooked);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 1923);
	CHECK_EQ(told->tid, told->worker);
	CHECK(!strcmp(told->comm, "bezoar"));
	CHECK_EQ(told->addr & -page, told->lost & -page);
	CHECK_EQ(told->outcome, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

static void hook_hangs(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
	for (;;)
		pause();
}

static void hanging(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.shutdown_ns = 50000000;
	begin(&options);
	add(hook, 1);
	add(hook_hangs, 0);
	add(hook, 2);
	lose();
}

static void deadline(void)
{
	uint64_t from = now_ns();
	int status;

	prepare();
	status = end_of(hanging);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 1);
	CHECK(now_ns() - from >= 50000000);
	expect_records(BEZ_OUTCOME_SHUTDOWN_LATE);
}

/* The lost page itself, which the hook may well want to save. */
static void hook_touches(const struct bez_event *loss, void *arg)
{
	(void)arg;
	say(live_read((void *)loss->addr) ? 7 : 8);
}

static void hook_copies(const struct bez_event *loss, void *arg)
{
	char to[16];

	(void)arg;
	say(bez_copy(to, (void *)loss->addr, sizeof(to)) == sizeof(to) ? 5 :
								       6);
}

static void hurt(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.claim_wait_ns = 60000000000;	/* longer than all hooks have */
	begin(&options);
	add(hook, 1);
	add(hook_touches, 0);
	add(hook_copies, 0);
	add(hook, 2);
	lose();
}

static void hook_meets_loss(void)
{
	struct bez_record r;
	int status;

	prepare();
	status = end_of(hurt);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 152);
	lseek(records, 0, SEEK_SET);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BEGUN, &r);
	/* not saved, and no second shutdown */
	CHECK_EQ(read(records, &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(r.why, BEZ_OUTCOME_SHUTDOWN_TWICE);
	CHECK_EQ(read(records, &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.outcome, BEZ_OUTCOME_COPY_SHORT);
	CHECK_EQ(r.why, BEZ_OUTCOME_SHUTDOWN_TWICE);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_HURT, &r);
}

static void without(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_NO_WORKER;
	begin(&options);
	if (tap_data())
		add(hook, 1);
	lose();
}

static void no_worker(void)
{
	int status;

	prepare();
	status = end_of(without);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 0);
	expect_records(tap_data() ? BEZ_OUTCOME_SHUTDOWN_BARE :
				    BEZ_OUTCOME_SHUTDOWN);
}

static const struct tap_case cases[] = {
	{ .name = "dies as an unprotected process", .run = as_unprotected },
	{ .name = "leaves the core dump of an unprotected one",
	  .run = as_unprotected_dump },
	{ .name = "the former action has no say", .run = not_the_former },
	{ .name = "an exit status", .run = with_status },
	{ .name = "bez_recover()", .run = recovers },
	{ .name = "bez_copy()", .run = copies },
	{ .name = "by the door", .run = by_the_door, .data = &dies },
	{ .name = "by the door, an exit status", .run = by_the_door,
	  .data = &exits_then },
	{ .name = "hooks in their order, on the worker", .run = in_order },
	{ .name = "a hook that hangs", .run = deadline,
	  .timeout_s = 20 },
	{ .name = "a hook that meets a loss", .run = hook_meets_loss },
	{ .name = "no worker, no hooks", .run = no_worker },
	{ .name = "no worker for the hooks", .run = no_worker, .data = "" },
};
TAP_MAIN(cases)
