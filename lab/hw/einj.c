/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "einj.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE ((uintptr_t)4096)
#define PRESENT (1ull << 63)
#define HWPOISON (1ull << 19)		/* in /proc/kpageflags */
#define OFFLINE "/sys/devices/system/memory/hard_offline_page"

static int open_at(const struct einj *e, const char *path, int flags)
{
	char full[512];

	if (snprintf(full, sizeof(full), "%s%s", e->root, path) >=
	    (int)sizeof(full))
		return -1;
	return open(full, flags | O_CLOEXEC);
}

static uint64_t number(const struct einj *e, const char *path, uint64_t index)
{
	uint64_t value = 0;
	int fd = open_at(e, path, O_RDONLY);

	if (fd < 0)
		return 0;
	if (pread(fd, &value, 8, (off_t)(index * 8)) != 8)
		value = 0;
	close(fd);
	return value;
}

static uint64_t frame_of(const struct einj *e, const void *page)
{
	uint64_t entry = number(e, "/proc/self/pagemap",
				(uintptr_t)page / PAGE);

	return entry & PRESENT ? entry & ((1ull << 55) - 1) : 0;
}

static uint64_t mapped_by(const struct einj *e, uint64_t frame)
{
	return number(e, "/proc/kpagecount", frame);
}

struct einj einj_at(const char *root)
{
	return (struct einj){ .root = root, .frame = frame_of,
			      .mapped = mapped_by };
}

/* Up to @size - 1 bytes of a file; -1: there is none. */
static ssize_t text_of(const struct einj *e, const char *path, char *text,
		       size_t size)
{
	size_t got = 0;
	ssize_t r = 1;
	int fd = open_at(e, path, O_RDONLY);

	if (fd < 0)
		return -1;
	while (r > 0 && got < size - 1) {
		r = read(fd, text + got, size - 1 - got);
		got += r > 0 ? (size_t)r : 0;
	}
	close(fd);
	text[got] = 0;
	return (ssize_t)got;
}

#define FOLDER "/sys/kernel/debug/apei/einj/"

const char *einj_why_not(const struct einj *e, unsigned int type)
{
	char text[4096], *line = text, *next;

	if (type != EINJ_CORRECTED && type != EINJ_UNCORRECTED)
		return "only corrected and non-fatal errors are injected";
	if (text_of(e, FOLDER "available_error_type", text, sizeof(text)) < 0)
		return "no EINJ: no such table in the firmware, no module einj,"
		       " no debugfs, or not root";
	for (; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (strtoull(line, NULL, 16) == type)
			return NULL;
	}
	return "the firmware does not offer this type of error";
}

/* Is all of the page at @address ordinary memory? */
static int is_ram(const struct einj *e, uint64_t address)
{
	static char text[256 << 10];
	unsigned long long from, to;
	char *line = text, *next;

	if (text_of(e, "/proc/iomem", text, sizeof(text)) < 0)
		return 0;
	for (; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (strstr(line, " : System RAM") &&
		    sscanf(line, " %llx-%llx", &from, &to) == 2 &&
		    from <= address && address + PAGE - 1 <= to)
			return 1;
	}
	return 0;
}

/* Is that what the file says? */
static int is(const struct einj *e, const char *file, uint64_t value)
{
	char path[128], got[64];

	snprintf(path, sizeof(path), FOLDER "%s", file);
	return text_of(e, path, got, sizeof(got)) > 0 &&
	       strtoull(got, NULL, 0) == value;
}

static int set(const struct einj *e, const char *file, uint64_t value)
{
	char path[128], text[32];
	int fd, length;
	ssize_t r;

	snprintf(path, sizeof(path), FOLDER "%s", file);
	length = snprintf(text, sizeof(text), "%#llx",
			  (unsigned long long)value);
	fd = open_at(e, path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return 0;
	r = write(fd, text, (size_t)length);
	close(fd);
	return r == length;
}

/* --------------------------------------------------------------- the keeper */

/* It has been marked already if somebody has met it: the kernel says so by an
 * error, and by another one because we hold it. Only the mark counts. */
static int offline(const struct einj *e, uint64_t address)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%#llx",
			      (unsigned long long)address);
	int fd = open_at(e, OFFLINE, O_WRONLY);
	ssize_t r;

	if (fd >= 0) {
		r = write(fd, text, (size_t)length);
		(void)r;
		close(fd);
	}
	if (number(e, "/proc/kpageflags", address / PAGE) & HWPOISON)
		return 0;
	fprintf(stderr, "einj: the memory at %#llx is bad and not marked: end"
		" this machine now\n", (unsigned long long)address);
	return 1;
}

/* Nobody's ^C, and no limit of time. Its end of the pipe holds the page. */
static _Noreturn void keep(const struct einj *e, int told)
{
	uint64_t address, last = 0;
	sigset_t all;

	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (write(told, "", 1) != 1)
		_exit(1);
	while (read(told, &address, sizeof(address)) == sizeof(address))
		last = address;
	_exit(last ? offline(e, last) : 0);
}

const char *einj_keep(struct einj *e)
{
	int fds[2], there = open_at(e, OFFLINE, O_PATH);
	char ready;

	if (there < 0)
		return "no hard_offline_page: what is bad could not be marked";
	close(there);
	if (pipe2(e->held, O_CLOEXEC) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return "no pipe";
	fflush(NULL);
	e->tell = fds[1];
	e->keeper = fork();
	if (!e->keeper) {
		close(fds[1]);
		keep(e, fds[0]);
	}
	close(fds[0]);
	return e->keeper < 0 || read(fds[1], &ready, 1) != 1 ?
	       "nobody to hold the page" : NULL;
}

/* ------------------------------------------------------------- the injection */

struct parameter {
	const char *file;
	uint64_t value;
};

enum { PARAMETERS = 5 };

static int all_are(const struct einj *e, const struct parameter *of)
{
	int i, good = 0;

	for (i = 0; i < PARAMETERS; i++)
		good += is(e, of[i].file, of[i].value);
	return good == PARAMETERS;
}

/* The page that @address is in, held in place by a pipe; its frame was @frame
 * before. */
static const char *inject_held(const struct einj *e, void *page,
			       unsigned int type, uint64_t frame,
			       uint64_t address)
{
	/* flags: param1 and param2 are an address and its mask, and nothing else.
	 * notrigger: the next access shall meet it, not the firmware's. */
	const struct parameter told[PARAMETERS] = {
		{ "error_type", type },
		{ "flags", 2 },
		{ "param1", address },
		{ "param2", ~(uint64_t)(PAGE - 1) },
		{ "notrigger", 1 },
	};
	int i;

	if (!is_ram(e, frame * PAGE))
		return "the frame is not in the System RAM of /proc/iomem";
	if (e->mapped(e, frame) != 1)
		return "somebody else maps the frame, too";
	for (i = 0; i < PARAMETERS; i++)
		if (!set(e, told[i].file, told[i].value) ||
		    !is(e, told[i].file, told[i].value))
			return "EINJ did not take its parameters";
	if (e->frame(e, page) != frame || e->mapped(e, frame) != 1)
		return "the page has moved";
	if (!all_are(e, told))
		return "somebody else has told EINJ something else";
	if (send(e->tell, &address, sizeof(address), MSG_NOSIGNAL) !=
	    sizeof(address))
		return "nobody holds the page";
	if (!set(e, "error_inject", 1))
		return "the firmware refused to inject";
	if (e->frame(e, page) != frame) {
		fprintf(stderr, "einj: the page moved while the error was"
			" injected at %#llx: end this machine now\n",
			(unsigned long long)address);
		abort();
	}
	return NULL;
}

const char *einj_inject(const struct einj *e, void *byte, unsigned int type)
{
	uintptr_t offset = (uintptr_t)byte % PAGE;
	char *page = (char *)byte - offset;
	struct iovec held = { page, PAGE };
	const char *why = einj_why_not(e, type);
	uint64_t frame;
	int lock;

	if (why)
		return why;
	if (e->keeper <= 0)
		return "nobody holds the page";
	if (mlock(page, PAGE))
		return "the page is not there, or can not be locked";
	frame = e->frame(e, page);
	if (!frame)
		return "no frame number: not root, or the kernel hides it";
	/* What EINJ was told is the machine's, and not the process's. */
	lock = open_at(e, FOLDER, O_RDONLY | O_DIRECTORY);
	if (lock < 0 || flock(lock, LOCK_EX))
		return "EINJ can not be had alone";
	/* A locked page may move, one that a pipe has may not. */
	why = vmsplice(e->held[1], &held, 1, 0) != (ssize_t)PAGE ?
	      "the page can not be held in place" :
	      e->frame(e, page) != frame ? "the page has moved" :
	      inject_held(e, page, type, frame, frame * PAGE + offset);
	close(lock);
	return why;
}
