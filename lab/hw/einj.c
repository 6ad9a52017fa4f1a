/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "einj.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE ((uintptr_t)4096)
#define PRESENT (1ull << 63)

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

/* Write, and read it back where that can be. */
static int set(const struct einj *e, const char *file, uint64_t value, int back)
{
	char path[128], text[32], got[64];
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
	if (r != length)
		return 0;
	return !back || (text_of(e, path, got, sizeof(got)) > 0 &&
			 strtoull(got, NULL, 0) == value);
}

/* The page, held in place by a pipe; its frame was @frame before. */
static const char *inject_held(const struct einj *e, void *page,
			       unsigned int type, uint64_t frame)
{
	const uint64_t address = frame * PAGE;

	if (!is_ram(e, address))
		return "the frame is not in the System RAM of /proc/iomem";
	if (e->mapped(e, frame) != 1)
		return "somebody else maps the frame, too";
	/* flags: param1 and param2 are an address and its mask, and nothing else.
	 * notrigger: the next access shall meet it, not the firmware's. */
	if (!set(e, "error_type", type, 1) || !set(e, "flags", 2, 1) ||
	    !set(e, "param1", address, 1) ||
	    !set(e, "param2", ~(uint64_t)(PAGE - 1), 1) ||
	    !set(e, "notrigger", 1, 1))
		return "EINJ did not take its parameters";
	if (e->frame(e, page) != frame || e->mapped(e, frame) != 1)
		return "the page has moved";
	if (!set(e, "error_inject", 1, 0))
		return "the firmware refused to inject";
	if (e->frame(e, page) != frame) {
		fprintf(stderr, "einj: the page moved while the error was"
			" injected at %#llx: end this machine now\n",
			(unsigned long long)address);
		abort();
	}
	return NULL;
}

const char *einj_inject(const struct einj *e, void *page, unsigned int type)
{
	struct iovec held = { page, PAGE };
	const char *why = einj_why_not(e, type);
	uint64_t frame;
	int fds[2];

	if (why)
		return why;
	if ((uintptr_t)page % PAGE || mlock(page, PAGE))
		return "the page is not there, or can not be locked";
	frame = e->frame(e, page);
	if (!frame)
		return "no frame number: not root, or the kernel hides it";
	if (pipe2(fds, O_CLOEXEC))
		return "no pipe";
	/* A locked page may move, one that a pipe has may not. */
	why = vmsplice(fds[1], &held, 1, 0) != (ssize_t)PAGE ?
	      "the page can not be held in place" :
	      e->frame(e, page) != frame ? "the page has moved" :
	      inject_held(e, page, type, frame);
	close(fds[0]);
	close(fds[1]);
	return why;
}
