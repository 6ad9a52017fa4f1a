/* SPDX-License-Identifier: MIT */
/*
 * What a process is told of a lost page when nobody has to do anything yet:
 * real machine checks that require no action, and errors that are found when
 * the banks are polled. machine_check.c has those that do.
 */
#define _GNU_SOURCE
#include "mce.h"
#include "poison.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { HERE = 0, THERE = 1 };	/* processors: who asks, and whom it meets */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECKF(fd >= 0, "%s: %s", path, strerror(errno));
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* ------------------------------------------------ what the kernel has done */

static int log_fd = -1;

/* From here on the kernel's log is read. */
static void log_from_here(void)
{
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(log_fd >= 0);
	CHECK(lseek(log_fd, 0, SEEK_END) >= 0);
}

/* Wait until it says that it is done with the page at @phys. All signals have
 * been sent then. */
static void wait_handled(uint64_t phys)
{
	struct pollfd wait = { .fd = log_fd, .events = POLLIN };
	char line[1024], want[64];
	ssize_t n;

	snprintf(want, sizeof(want), "Memory failure: 0x%" PRIx64
		 ": recovery action", phys / PAGE);
	for (;;) {
		n = read(log_fd, line, sizeof(line) - 1);
		if (n < 0) {
			CHECK(errno == EAGAIN);
			CHECK_EQ(poll(&wait, 1, 50000), 1);
			continue;
		}
		line[n] = '\0';
		if (strstr(line, want))
			break;
	}
	close(log_fd);
}

/* -------------------------------------------------------- who wants to know */

static sigset_t bus;

enum policy { NONE, EARLY, LATE };	/* of a thread; NONE: nothing said */

static void set_policy(enum policy policy)
{
	static const int arg[] = { PR_MCE_KILL_DEFAULT, PR_MCE_KILL_EARLY,
				   PR_MCE_KILL_LATE };

	CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, arg[policy], 0, 0), 0);
}

/* Was this thread told? Takes it. */
static int was_told(siginfo_t *ret_info)
{
	const struct timespec now = { .tv_sec = 0 };

	return sigtimedwait(&bus, ret_info, &now) == SIGBUS;
}

struct other {
	pthread_t thread;
	enum policy policy;
	sem_t ready, go;
	int told;
	siginfo_t info;
};

static void sem_take(sem_t *sem)
{
	while (sem_wait(sem))
		CHECK(errno == EINTR);
}

static void *other_thread(void *data)
{
	struct other *o = data;

	set_policy(o->policy);
	sem_post(&o->ready);
	sem_take(&o->go);
	o->told = was_told(&o->info);
	return NULL;
}

static void other_starts(struct other *o)
{
	sem_init(&o->ready, 0, 0);
	sem_init(&o->go, 0, 0);
	CHECK_EQ(pthread_create(&o->thread, NULL, other_thread, o), 0);
	sem_take(&o->ready);
}

static void other_ends(struct other *o)
{
	sem_post(&o->go);
	CHECK_EQ(pthread_join(o->thread, NULL), 0);
}

static void prepare(const char *sysctl)
{
	lab_need_mce();
	take_sigbus();
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &bus, NULL), 0);
	write_file("/proc/sys/vm/memory_failure_early_kill", sysctl);
	/* errors that raise nothing are found by a timer */
	write_file("/sys/devices/system/machinecheck/machinecheck0/"
		   "check_interval", "1");
	lab_stay_on(HERE);
}

/* Lost by the machine, wherever the processor is; and done with. */
static void lose(enum lab_mce_kind kind, const void *p)
{
	const struct lab_mce mce = { .kind = kind, .cpu = THERE,
				     .phys = lab_phys(p) };

	log_from_here();
	CHECK(mce.phys != 0);
	CHECK_EQ(lab_mce(&mce), 0);
	wait_handled(mce.phys);
}

static void check_notice(const siginfo_t *info, const unsigned char *p)
{
	CHECK_EQ(info->si_code, BUS_MCEERR_AO);
	CHECK_EQ((uintptr_t)info->si_addr, (uintptr_t)p);
	CHECK_EQ(info->si_addr_lsb, 12);
}

/* Told early or not, it is lost: a touch is told the byte. */
static void check_touch(unsigned char *p)
{
	unsigned char value;

	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &bus, NULL), 0);
	CHECK_EQ(sigbus.count, 0);
	CHECK_EQ(peek(p + 9, &value), -1);
	check_ar(p + 9);
	CHECK_EQ(sigbus.count, 1);
}

/* ------------------------------------------------------------------- cases */

struct told {
	const char *sysctl;	/* vm.memory_failure_early_kill */
	enum policy main, other;
	enum { NOBODY, MAIN, OTHER } who;
	enum lab_mce_kind kind;
};

/* One thread is told, or none; never two. */
static void told(void)
{
	const struct told *want = tap_data();
	struct other o = { .policy = want->other };
	unsigned char *p;
	siginfo_t info;
	int main_told;

	prepare(want->sysctl);
	p = anon(1, MAP_PRIVATE);
	other_starts(&o);
	set_policy(want->main);
	lose(want->kind, p);
	other_ends(&o);
	main_told = was_told(&info);
	write_file("/proc/sys/vm/memory_failure_early_kill", "0");
	CHECK_EQ(main_told, want->who == MAIN);
	CHECK_EQ(o.told, want->who == OTHER);
	if (main_told)
		check_notice(&info, p);
	if (o.told)
		check_notice(&o.info, p);
	check_touch(p);
}

/* It comes when the place has another page already, which is good. */
static void comes_late(void)
{
	unsigned char *p;
	siginfo_t info;

	prepare("0");
	set_policy(EARLY);
	p = anon(1, MAP_PRIVATE);
	lose(LAB_MCE_OPTIONAL, p);
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK(mmap(p, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	memset(p, 0x77, PAGE);
	CHECK(was_told(&info));
	check_notice(&info, p);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &bus, NULL), 0);
	CHECK(page_is(p, 0x77));
	CHECK_EQ(sigbus.count, 0);
}

/* Two while the first waits: the second is never told, but for a touch. */
static void one_of_two(void)
{
	unsigned char *p, value;
	siginfo_t info;

	prepare("0");
	set_policy(EARLY);
	p = anon(2, MAP_PRIVATE);
	lose(LAB_MCE_OPTIONAL, p);
	lose(LAB_MCE_OPTIONAL, p + PAGE);
	CHECK(was_told(&info));
	check_notice(&info, p);
	CHECK(!was_told(&info));
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &bus, NULL), 0);
	CHECK_EQ(peek(p + PAGE + 3, &value), -1);
	check_ar(p + PAGE + 3);
}

/* How often a processor has looked into its banks. */
static unsigned long polls(unsigned int cpu)
{
	unsigned long count[2] = { 0, 0 };
	char line[256];
	int found = 0;
	FILE *f = fopen("/proc/interrupts", "re");

	CHECK(f != NULL && cpu < 2);
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, " MCP: %lu %lu", &count[0], &count[1]) == 2;
	fclose(f);
	CHECK(found);
	return count[cpu];
}

/* Put right by the machine: nobody is told, nothing is lost. (That a poll sees
 * what is in the bank is "found by polling".) */
static void corrected(void)
{
	struct lab_mce mce = { .kind = LAB_MCE_CORRECTED, .cpu = THERE };
	unsigned char *p;
	unsigned long seen;
	siginfo_t info;

	prepare("0");
	set_policy(EARLY);
	p = anon(1, MAP_PRIVATE);
	mce.phys = lab_phys(p);
	CHECK_EQ(lab_mce(&mce), 0);
	/* one may have begun before */
	for (seen = polls(THERE); polls(THERE) < seen + 2;)
		poll(NULL, 0, 50);
	CHECK(!was_told(&info));
	CHECK_EQ(pagemap(p) & PAGEMAP_PRESENT, PAGEMAP_PRESENT);
	CHECK_EQ(lab_phys(p), mce.phys);
	CHECK(page_is(p, fill_of(0)));
}

static const struct told tells[] = {
	{ "0", NONE, NONE, NOBODY, LAB_MCE_OPTIONAL },
	{ "0", NONE, EARLY, OTHER, LAB_MCE_OPTIONAL },
	{ "0", EARLY, NONE, MAIN, LAB_MCE_OPTIONAL },
	{ "0", EARLY, EARLY, MAIN, LAB_MCE_OPTIONAL },
	{ "1", NONE, NONE, MAIN, LAB_MCE_OPTIONAL },
	{ "1", NONE, EARLY, MAIN, LAB_MCE_OPTIONAL },
	{ "1", LATE, EARLY, OTHER, LAB_MCE_OPTIONAL },
	{ "1", LATE, LATE, NOBODY, LAB_MCE_OPTIONAL },
	{ "0", NONE, EARLY, OTHER, LAB_MCE_DEFERRED },
};

static const struct tap_case cases[] = {
	{ .name = "nobody asked", .run = told, .data = &tells[0] },
	{ .name = "a dedicated thread asked", .run = told, .data = &tells[1] },
	{ .name = "the main thread asked", .run = told, .data = &tells[2] },
	{ .name = "both asked", .run = told, .data = &tells[3] },
	{ .name = "all are told, nobody asked", .run = told,
	  .data = &tells[4] },
	{ .name = "all are told, a dedicated thread asked", .run = told,
	  .data = &tells[5] },
	{ .name = "all are told, and main will not", .run = told,
	  .data = &tells[6] },
	{ .name = "all are told, and all will not", .run = told,
	  .data = &tells[7] },
	{ .name = "found by polling", .run = told, .data = &tells[8] },
	{ .name = "comes when the place is in use again", .run = comes_late },
	{ .name = "one of two is told", .run = one_of_two },
	{ .name = "corrected", .run = corrected },
};
TAP_MAIN(cases)
