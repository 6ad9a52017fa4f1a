/* SPDX-License-Identifier: MIT */
/* What is told to the firmware, and when nothing is: EINJ in a folder of files. */
#define _GNU_SOURCE
#include "einj.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/debug/apei/einj"
#define MEMORY "/sys/devices/system/memory"
#define OFFLINE MEMORY "/hard_offline_page"
#define FRAME 0x12345u
#define OFFSET 77

static char root[] = "/tmp/einj.XXXXXX";
static const char *const files[] = { "error_type", "flags", "param1", "param2",
				     "notrigger", "error_inject" };
static unsigned int asked, moves_at;	/* at which question; 0: never */
static void (*at_third)(void);		/* just before it is injected */
static uint64_t frame = FRAME, mappers = 1;

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "w");
	CHECKF(f != NULL, "%s", full);
	fputs(text, f);
	fclose(f);
}

/* The word at @index of a file of /proc. */
static void put_word(const char *path, uint64_t index, uint64_t value)
{
	char full[256];
	FILE *f;

	put(path, "");
	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "r+");
	CHECK(f != NULL);
	CHECK_EQ(fseek(f, (long)(index * 8), SEEK_SET), 0);
	CHECK_EQ(fwrite(&value, 8, 1, f), 1);
	fclose(f);
}

/* What a file of EINJ holds; -1: nothing. */
static long long has(const char *file)
{
	char full[256], text[64] = "";
	FILE *f;

	snprintf(full, sizeof(full), "%s" FOLDER "/%s", root, file);
	f = fopen(full, "r");
	if (!f || !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	return text[0] ? (long long)strtoull(text, NULL, 0) : -1;
}

static uint64_t frame_of(const struct einj *e, const void *page)
{
	(void)e;
	(void)page;
	if (++asked == 3 && at_third)
		at_third();
	return asked == moves_at ? frame + 1 : frame;
}

static uint64_t mapped_by(const struct einj *e, uint64_t of)
{
	(void)e;
	return of == frame ? mappers : 0;
}

static struct einj machine(void)
{
	static const char *const folders[] = {
		"/sys", "/sys/kernel", "/sys/kernel/debug",
		"/sys/kernel/debug/apei", FOLDER, "/proc", "/sys/devices",
		"/sys/devices/system", MEMORY };
	struct einj e = { .root = root, .frame = frame_of, .mapped = mapped_by };
	char path[256];
	size_t i;

	CHECK(mkdtemp(root) != NULL);
	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, folders[i]);
		CHECK_EQ(mkdir(path, 0700), 0);
	}
	put(FOLDER "/available_error_type",
	    "0x00000008\tMemory Correctable\n"
	    "0x00000010\tMemory Uncorrectable non-fatal\n"
	    "0x00000020\tMemory Uncorrectable fatal\n");
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), FOLDER "/%s", files[i]);
		put(path, "");
	}
	put("/proc/iomem", "00001000-0009ffff : System RAM\n"
	    "00100000-3fffffff : System RAM\n"
	    "  01000000-01ffffff : Kernel code\n"
	    "40000000-4fffffff : PCI Bus 0000:00\n");
	put(OFFLINE, "");
	put_word("/proc/kpageflags", FRAME, 1ull << 19);
	CHECK(!einj_keep(&e));
	return e;
}

static void clean(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	CHECK_EQ(system(command), 0);
}

static char *page(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, 'a', 4096);
	return p;
}

/* What the keeper ends with; it may now. */
static int keeper_ends(struct einj *e)
{
	int status;

	shutdown(e->tell, SHUT_RDWR);
	CHECK_EQ(waitpid(e->keeper, &status, 0), e->keeper);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void all_is_told(void)
{
	struct einj e = machine();
	const char *why = einj_inject(&e, page() + OFFSET, EINJ_UNCORRECTED);

	CHECKF(!why, "%s", why);
	CHECK_EQ(has("error_type"), 0x10);
	CHECK_EQ(has("flags"), 2);
	CHECK_EQ(has("param1"), FRAME * 4096ll + OFFSET);
	CHECK_EQ(has("param2"), -4096);
	CHECK_EQ(has("notrigger"), 1);
	CHECK_EQ(has("error_inject"), 1);
	CHECK_EQ(keeper_ends(&e), 0);
	clean();
}

/* @type is refused, and for that reason. */
static void refused(const struct einj *e, unsigned int type, const char *reason)
{
	const char *why = einj_inject(e, page(), type);

	CHECK(why != NULL);
	CHECKF(strstr(why, reason), "refused, as %s", why);
	CHECK_EQ(has("error_inject"), -1);
	clean();
}

static void fatal(void)
{
	struct einj e = machine();

	refused(&e, EINJ_FATAL, "only corrected and non-fatal");
}

static void not_offered(void)
{
	struct einj e = machine();

	put(FOLDER "/available_error_type", "0x00000010\tUncorrectable\n");
	refused(&e, EINJ_CORRECTED, "does not offer");
}

static void no_einj(void)
{
	struct einj e = machine();
	char path[256];

	snprintf(path, sizeof(path), "%s" FOLDER "/available_error_type", root);
	CHECK_EQ(unlink(path), 0);
	refused(&e, EINJ_UNCORRECTED, "no EINJ");
}

static void no_frame(void)
{
	struct einj e = machine();

	frame = 0;
	refused(&e, EINJ_UNCORRECTED, "no frame number");
}

static void not_ram(void)
{
	struct einj e = machine();

	frame = 0x40000;
	refused(&e, EINJ_UNCORRECTED, "not in the System RAM");
}

static void shared(void)
{
	struct einj e = machine();

	mappers = 2;
	refused(&e, EINJ_UNCORRECTED, "somebody else");
}

static void moves_early(void)
{
	struct einj e = machine();

	moves_at = 2;
	refused(&e, EINJ_UNCORRECTED, "has moved");
}

static void moves_last(void)
{
	struct einj e = machine();

	moves_at = 3;
	refused(&e, EINJ_UNCORRECTED, "has moved");
	CHECK_EQ(asked, 3);
}

/* --------------------------------------------------------- two at one time */

static void meddles(void)
{
	put(FOLDER "/param1", "0x1000");
}

static void told_otherwise(void)
{
	struct einj e = machine();

	at_third = meddles;
	refused(&e, EINJ_UNCORRECTED, "somebody else has told");
}

static int lock_is_free(void)
{
	char path[256];
	int fd, free;

	snprintf(path, sizeof(path), "%s" FOLDER, root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	free = !flock(fd, LOCK_EX | LOCK_NB);
	CHECK(free || errno == EWOULDBLOCK);
	close(fd);
	return free;
}

static void is_locked(void)
{
	CHECK(!lock_is_free());
}

static void one_at_a_time(void)
{
	struct einj e = machine();

	at_third = is_locked;
	CHECK(!einj_inject(&e, page(), EINJ_UNCORRECTED));
	CHECK_EQ(asked, 4);
	CHECK(lock_is_free());
	CHECK_EQ(keeper_ends(&e), 0);
	clean();
}

/* ---------------------------------------------------------------- the keeper */

/* Of another process, which is killed with the page armed. Only the keeper holds
 * it then. */
static void arms_and_dies(struct einj *e)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		CHECK(!einj_inject(e, page() + OFFSET, EINJ_UNCORRECTED));
		raise(SIGKILL);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_EQ(has("error_inject"), 1);
	close(e->held[1]);
}

static int open_pipe(const char *path, int flags)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, flags | O_CLOEXEC);
	CHECKF(fd >= 0, "%s", full);
	return fd;
}

static void make_pipe(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", root, path);
	CHECK_EQ(unlink(full), 0);
	CHECK_EQ(mkfifo(full, 0600), 0);
}

/* The kernel is two pipes: the keeper waits in the second until we have seen what
 * it has written into the first. */
static void is_marked(void)
{
	struct einj e = machine();
	struct pollfd end = { .fd = e.held[0], .events = POLLIN };
	struct pollfd told = { .events = POLLIN };
	char text[64] = "";

	make_pipe(OFFLINE);
	make_pipe("/proc/kpageflags");
	arms_and_dies(&e);
	CHECK_EQ(kill(e.keeper, SIGINT), 0);
	CHECK_EQ(kill(e.keeper, SIGTERM), 0);
	CHECK_EQ(waitpid(e.keeper, NULL, WNOHANG), 0);
	CHECK_EQ(getsid(e.keeper), e.keeper);
	told.fd = open_pipe(OFFLINE, O_RDONLY | O_NONBLOCK);
	shutdown(e.tell, SHUT_RDWR);
	CHECK_EQ(poll(&told, 1, 10000), 1);
	poll(&end, 1, 0);
	/* Go on; nobody can read at an offset of a pipe. */
	close(open_pipe("/proc/kpageflags", O_WRONLY));
	CHECK_EQ(keeper_ends(&e), 1);
	CHECK(read(told.fd, text, sizeof(text) - 1) > 0);
	CHECK_EQ(strtoull(text, NULL, 0), FRAME * 4096ll + OFFSET);
	CHECK_EQ(end.revents, POLLIN);	/* and POLLHUP if nobody holds it */
	clean();
}

static void is_not_marked(void)
{
	struct einj e = machine();

	put_word("/proc/kpageflags", FRAME, ~(1ull << 19));
	arms_and_dies(&e);
	CHECK_EQ(keeper_ends(&e), 1);
	clean();
}

/* A page of which nothing was said stays as it is. */
static void nothing_to_mark(void)
{
	struct einj e = machine();
	char path[256];
	struct stat st;

	moves_at = 3;
	CHECK(einj_inject(&e, page(), EINJ_UNCORRECTED) != NULL);
	CHECK_EQ(keeper_ends(&e), 0);
	snprintf(path, sizeof(path), "%s" OFFLINE, root);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_size, 0);
	clean();
}

static void can_not_mark(void)
{
	struct einj e = machine();
	char path[256];

	snprintf(path, sizeof(path), "%s" OFFLINE, root);
	CHECK_EQ(unlink(path), 0);
	CHECK(strstr(einj_keep(&e), "no hard_offline_page") != NULL);
	clean();
}

static void no_keeper(void)
{
	struct einj e = machine();

	e.keeper = 0;
	refused(&e, EINJ_UNCORRECTED, "nobody holds");
}

static void keeper_is_dead(void)
{
	struct einj e = machine();

	CHECK_EQ(kill(e.keeper, SIGKILL), 0);
	CHECK_EQ(waitpid(e.keeper, NULL, 0), e.keeper);
	refused(&e, EINJ_UNCORRECTED, "nobody holds");
}

/* Whoever injects waits in the firmware, which is a pipe that nobody reads. */
static void keeper_is_told_first(void)
{
	struct einj e = machine();
	struct pollfd told = { .events = POLLIN };
	int fds[2], tell = e.tell;
	uint64_t address = 0;
	pid_t pid;

	make_pipe(FOLDER "/error_inject");
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	e.tell = fds[1];
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		einj_inject(&e, page() + OFFSET, EINJ_UNCORRECTED);
		_exit(0);
	}
	told.fd = fds[0];
	CHECK_EQ(poll(&told, 1, 10000), 1);
	CHECK_EQ(read(fds[0], &address, 8), 8);
	CHECK_EQ(address, FRAME * 4096ll + OFFSET);
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	e.tell = tell;
	CHECK_EQ(keeper_ends(&e), 0);
	clean();
}

static void aborts(int sig)
{
	(void)sig;
	clean();
}

/* The program ends: nobody knows whose memory is bad. */
static void moves_too_late(void)
{
	struct einj e = machine();
	const struct rlimit none = { 0, 0 };

	CHECK_EQ(setrlimit(RLIMIT_CORE, &none), 0);
	CHECK(signal(SIGABRT, aborts) != SIG_ERR);
	moves_at = 4;
	einj_inject(&e, page(), EINJ_UNCORRECTED);
}

static void parameter_is_not_taken(void)
{
	struct einj e = machine();
	char path[256];

	/* A device: it takes all, and has nothing. */
	snprintf(path, sizeof(path), "%s" FOLDER "/param1", root);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(symlink("/dev/null", path), 0);
	refused(&e, EINJ_UNCORRECTED, "did not take");
}

/* Where the numbers of /proc are read from. */
static void reads_the_page_map(void)
{
	struct einj e = machine(), real = einj_at(root);
	void *at = page();
	char path[256];

	snprintf(path, sizeof(path), "%s/proc/self", root);
	CHECK_EQ(mkdir(path, 0700), 0);
	put("/proc/self/pagemap", "");
	put("/proc/kpagecount", "");
	CHECK_EQ(real.frame(&real, at), 0);
	put_word("/proc/self/pagemap", (uintptr_t)at / 4096,
		 1ull << 63 | FRAME);
	CHECK_EQ(real.frame(&real, at), FRAME);
	CHECK_EQ(real.mapped(&real, FRAME), 0);
	put_word("/proc/kpagecount", FRAME, 1);
	CHECK_EQ(real.mapped(&real, FRAME), 1);
	(void)e;
	clean();
}

static const struct tap_case cases[] = {
	{ .name = "all is told, and then to inject", .run = all_is_told },
	{ .name = "a fatal error is refused", .run = fatal },
	{ .name = "a type that is not offered", .run = not_offered },
	{ .name = "no EINJ", .run = no_einj },
	{ .name = "no frame number, no error", .run = no_frame },
	{ .name = "a frame that is no memory", .run = not_ram },
	{ .name = "a frame that is shared", .run = shared },
	{ .name = "a page that moves before it is held", .run = moves_early },
	{ .name = "a page that moves at the last moment", .run = moves_last },
	{ .name = "a page that moves too late", .run = moves_too_late,
	  .want_signal = SIGABRT },
	{ .name = "a parameter that is not taken",
	  .run = parameter_is_not_taken },
	{ .name = "parameters that are another's", .run = told_otherwise },
	{ .name = "one injection at a time", .run = one_at_a_time },
	{ .name = "who ends early leaves a page that is marked",
	  .run = is_marked },
	{ .name = "a page that is not marked is told of",
	  .run = is_not_marked },
	{ .name = "a page that is good is not marked", .run = nothing_to_mark },
	{ .name = "nobody to mark it, no error", .run = can_not_mark },
	{ .name = "nobody to hold it, no error", .run = no_keeper },
	{ .name = "a keeper that is dead, no error", .run = keeper_is_dead },
	{ .name = "the keeper is told before the firmware",
	  .run = keeper_is_told_first },
	{ .name = "frames and counts are read from /proc",
	  .run = reads_the_page_map },
};
TAP_MAIN(cases)
