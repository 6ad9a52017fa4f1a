/* SPDX-License-Identifier: MIT */
/*
 * The files of the hwpoison_inject module in debugfs: a frame number written
 * to them is lost, or found again.
 */
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CORRUPT		"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

static int tell(const char *path, uint64_t frame)
{
	int fd = bzi_sys_open(path, O_WRONLY);
	char text[32];
	ssize_t r;

	if (fd < 0)
		return fd;
	snprintf(text, sizeof(text), "%#" PRIx64 "\n", frame);
	r = bzi_sys_write(fd, text, strlen(text));
	bzi_sys_close(fd);
	return r < 0 ? (int)r : 0;
}

static int may_tell(const char *path)
{
	int fd = bzi_sys_open(path, O_WRONLY);

	if (fd < 0)
		return fd == -ENOENT ? -EOPNOTSUPP : fd;
	bzi_sys_close(fd);
	return 0;
}

int bzi_can_corrupt(void)
{
	if (!bzi_memory_failure() || bzi_would_panic())
		return -EOPNOTSUPP;
	return may_tell(CORRUPT);
}

bool bzi_can_unpoison(void)
{
	return !may_tell(UNPOISON);
}

int bzi_corrupt_frame(uint64_t frame)
{
	return tell(CORRUPT, frame);
}

int bzi_unpoison_frame(uint64_t frame)
{
	return tell(UNPOISON, frame);
}
