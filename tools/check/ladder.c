/* SPDX-License-Identifier: MIT */
/* What becomes of a page that can not be replaced: S3, S4 and S5.2. */
#include "probe.h"

#include <bezoar/record.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_STATUS	42

/* ------------------------------------------------------------------ degrade */

static unsigned char *table;		/* of two pages; the second is lost */
static sem_t told_owner;

static void on_lost(const struct bez_lost *lost, void *arg)
{
	(void)arg;
	EXPECT(lost->addr == table + probe_page(), "its owner was told %p",
	       lost->addr);
	sem_post(&told_owner);
}

static void lose_table(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;

	sem_init(&told_owner, 0, 0);
	probe_start(BEZ_START_NO_EARLY_KILL);
	table = probe_pages(2);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	probe_region(table, 2 * probe_page(), &policy);
	probe_lose(table + probe_page());
}

static void load(void *at)
{
	(void)*(volatile unsigned char *)at;
}

/* The catch was entered, and told that it is this page. */
static void expect_caught(const char *who, unsigned char *at)
{
	struct bez_lost lost = { 0 };

	EXPECT(bez_scope_run(load, at, &lost) == -EFAULT,
	       "%s could read the page", who);
	EXPECT(lost.addr == table + probe_page() && lost.touched == at &&
	       lost.width == probe_page(),
	       "%s was told %zu bytes at %p, and %p was touched", who,
	       lost.width, lost.addr, (void *)at);
}

void s3_told(void)
{
	volatile int caught = 0;

	lose_table();
	BEZ_TRY {
		load(table + probe_page() + 5);
	} BEZ_CATCH(lost) {
		caught = lost->touched == table + probe_page() + 5;
	}
	EXPECT(caught, "the catch was not entered");
	expect_caught("the scope", table + probe_page() + 9);
	probe_doing("waiting for its owner to be told");
	while (sem_wait(&told_owner))
		continue;
	EXPECT(!probe_wrong(table, probe_page()),
	       "the page before it has a wrong byte");
	probe_holds();
}

static void *in_a_thread(void *arg)
{
	bez_thread_attach();
	expect_caught("another thread", table + probe_page() + 2);
	return arg;
}

static void in_a_child(void *arg)
{
	(void)arg;
	expect_caught("a child", table + probe_page() + 3);
}

void s3_stays_lost(void)
{
	size_t page = probe_page();
	int fd = memfd_create("bezoar-check", MFD_CLOEXEC), i;
	pthread_t thread;

	if (fd < 0)
		probe_untested("memfd_create: %s", strerror(errno));
	lose_table();
	for (i = 0; i < 100; i++)
		expect_caught("the same thread", table + page + i);
	probe_doing("waiting for a thread that touches the page");
	pthread_create(&thread, NULL, in_a_thread, NULL);
	pthread_join(thread, NULL);
	probe_doing("waiting for a child that touches the page");
	EXPECT(!probe_ended(probe_child(in_a_child, NULL)), "the child died");
	EXPECT(pwrite(fd, table + page, page, 0) == -1 && errno == EFAULT,
	       "write(2) could read the page");
	EXPECT(bez_lost_in(table + page, 1) == 1, "it is not in the inventory");
	probe_doing("clearing the page");
	EXPECT(!bez_lost_clear(table + page, page), "it can not be cleared");
	for (i = 0; i < (int)page; i++)
		EXPECT(!((volatile unsigned char *)table)[page + (size_t)i],
		       "the cleared page is not empty");
	EXPECT(!bez_lost_in(table, 2 * page), "it is lost still");
	probe_holds();
}

void s3_state(void)
{
	sigset_t set, after;
	stack_t stack;
	int i;

	lose_table();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	for (i = 0; i < 3; i++) {
		errno = 77;
		expect_caught("the scope", table + probe_page() + i);
		EXPECT(errno == 77, "errno was 77, and is %d", errno);
		sigprocmask(SIG_BLOCK, NULL, &after);
		EXPECT(sigismember(&after, SIGUSR1) == 1 &&
		       !sigismember(&after, SIGUSR2) &&
		       !sigismember(&after, SIGBUS),
		       "the signal mask is another one");
		EXPECT(!sigaltstack(NULL, &stack) &&
		       !(stack.ss_flags & SS_ONSTACK),
		       "it is on the alternate stack still");
	}
	probe_holds();
}

/* ------------------------------------------------------------------ the end */

struct program {
	uint32_t flags;			/* of bez_start() */
	int hooks;			/* pipe that they write to; or -1 */
	int records;			/* likewise */
	int policed;			/* the page is in a region */
};

static void hook(const struct bez_event *loss, void *arg)
{
	const struct program *p = arg;
	static char name = '1';

	(void)loss;
	if (write(p->hooks, &name, 1) == 1)
		name++;
}

/* Loses a page that it can not do without. */
static void needs_it(void *arg)
{
	const struct program *p = arg;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_options options = BEZ_OPTIONS_INIT;
	unsigned char *at = probe_pages(1);

	options.flags = p->flags | BEZ_START_NO_EARLY_KILL;
	options.record_fd = p->records > 0 ? p->records : 0;
	options.shutdown_status = EXIT_STATUS;
	EXPECT(!bez_start(&options), "bez_start() failed in a child");
	if (p->hooks > 0) {
		bez_shutdown_hook(hook, arg);
		bez_shutdown_hook(hook, arg);
	}
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	if (p->policed)
		probe_region(at, probe_page(), &policy);
	probe_lose(at);
	load(at + 1);
	probe_broken("it could read the page");
}

static int died_of_sigbus(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

static int run(struct program *p)
{
	probe_doing("waiting for a program that has lost a page");
	return probe_ended(probe_child(needs_it, p));
}

/* What is in it when the program has ended is all that comes. */
static void a_pipe(int ret[2])
{
	if (pipe2(ret, O_NONBLOCK))
		probe_untested("pipe: %s", strerror(errno));
}

void s4_record(void)
{
	struct program p = { .hooks = -1, .policed = 1 };
	struct bez_record r;
	int ends[2], status, n = 0, last = 0;

	a_pipe(ends);
	p.records = ends[1];
	status = run(&p);
	close(ends[1]);
	while (read(ends[0], &r, sizeof(r)) == (ssize_t)sizeof(r)) {
		EXPECT(!memcmp(r.magic, BEZ_RECORD_MAGIC, sizeof(r.magic)) &&
		       r.digest == bez_digest(&r, sizeof(r) - sizeof(r.digest)),
		       "a record is damaged");
		last = r.outcome;
		n++;
	}
	EXPECT(died_of_sigbus(status), "the program ended with status %#x",
	       (unsigned int)status);
	EXPECT(n == 2 && last == BEZ_OUTCOME_SHUTDOWN,
	       "there are %d records, and the last says \"%s\"", n,
	       bez_outcome_name((enum bez_outcome)last));
	probe_holds();
}

void s4_hooks(void)
{
	struct program p = { .records = -1, .policed = 1 };
	char names[4];
	int ends[2], status;

	a_pipe(ends);
	p.hooks = ends[1];
	status = run(&p);
	EXPECT(died_of_sigbus(status), "the program ended with status %#x, "
	       "and not of SIGBUS", (unsigned int)status);
	EXPECT(read(ends[0], names, sizeof(names)) == 2 &&
	       !memcmp(names, "12", 2), "its hooks were not run in order");
	p.flags = BEZ_START_SHUTDOWN_EXIT;
	status = run(&p);
	EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS,
	       "it should have exited, and ended with status %#x",
	       (unsigned int)status);
	probe_holds();
}

/* ------------------------------------------------------------- the same death */

/* What a debugger sees of each signal. Where it may not, nothing is compared. */
static void is_watched(void *arg)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	needs_it(arg);
}

/* Where @pid is stopped; 0: it is not told. */
static unsigned long long stopped_at(pid_t pid)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &iov))
		return 0;
#ifdef __x86_64__
	return regs.rip;
#else
	return regs.pc;
#endif
}

/* The kernel's own SIGBUS comes first, and the one that it dies of last. */
void s5_same_death(void)
{
	struct program p = { .records = -1, .hooks = -1 };
	unsigned long long first_at = 0, last_at = 0;
	siginfo_t first, last;
	int status, seen = 0;
	pid_t pid;

	probe_doing("waiting for a program that has lost a page");
	pid = probe_child(is_watched, &p);
	memset(&first, 0, sizeof(first));
	memset(&last, 0, sizeof(last));
	while (WIFSTOPPED(status = probe_ended(pid))) {
		if (WSTOPSIG(status) == SIGBUS &&
		    !ptrace(PTRACE_GETSIGINFO, pid, NULL, &last)) {
			last_at = stopped_at(pid);
			if (!seen++) {
				first = last;
				first_at = last_at;
			}
		}
		ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status));
	}
	EXPECT(died_of_sigbus(status), "the program ended with status %#x, "
	       "and not of SIGBUS", (unsigned int)status);
	if (!seen)
		probe_holds_but("what the signal says was not compared: "
				"ptrace(2) is refused here");
	EXPECT(first.si_addr && first.si_addr == last.si_addr &&
	       first.si_code == last.si_code,
	       "the loss said code %d and %p, and the end code %d and %p",
	       first.si_code, first.si_addr, last.si_code, last.si_addr);
	EXPECT(first_at == last_at, "the loss was at the instruction at %#llx, "
	       "and the end at %#llx", first_at, last_at);
	if (!first_at)
		probe_holds_but("at which instruction was not compared: "
				"ptrace(2) does not tell the registers here");
	probe_holds();
}
