/* SPDX-License-Identifier: MIT */
/*
 * FUSE, spoken to /dev/fuse without a library: one file system with one file, of
 * which the second half is on a bad disk, or that hangs. Served by a child, which
 * ends when the case does.
 */
#define _GNU_SOURCE
#include "fuse_eio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

static size_t file_len, file_bad;
static int file_hangs;
static pid_t server;
static const unsigned char *file_bytes;

static struct {
	struct fuse_out_header head;
	char body[65536];
} answer;

static void attributes(uint64_t node, struct fuse_attr *a)
{
	memset(a, 0, sizeof(*a));
	a->ino = node;
	a->nlink = 1;
	a->mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
	a->size = node == 1 ? 0 : file_len;
	a->blksize = 4096;
}

/* Returns the length of the answer's body, or a negative errno. */
static int read_file(const struct fuse_read_in *in)
{
	size_t len = in->size;

	if (in->offset >= file_len)
		return 0;
	if (len > file_len - in->offset)
		len = file_len - in->offset;
	/* what is asked for in one go fails in one go */
	if (in->offset + len > file_bad)
		return -EIO;
	memcpy(answer.body, file_bytes + in->offset, len);
	return (int)len;
}

static int one(const struct fuse_in_header *in, const void *arg)
{
	struct fuse_attr_out *attr = (void *)answer.body;
	struct fuse_entry_out *entry = (void *)answer.body;
	struct fuse_init_out *init = (void *)answer.body;
	struct fuse_open_out *open_out = (void *)answer.body;

	switch (in->opcode) {
	case FUSE_INIT:
		memset(init, 0, sizeof(*init));
		init->major = FUSE_KERNEL_VERSION;
		init->minor = FUSE_KERNEL_MINOR_VERSION;
		init->max_readahead = 0;
		init->max_write = 4096;
		return sizeof(*init);
	case FUSE_LOOKUP:
		memset(entry, 0, sizeof(*entry));
		entry->nodeid = 2;
		entry->attr_valid = 1000;
		entry->entry_valid = 1000;
		attributes(2, &entry->attr);
		return sizeof(*entry);
	case FUSE_GETATTR:
		memset(attr, 0, sizeof(*attr));
		attr->attr_valid = 1000;
		attributes(in->nodeid, &attr->attr);
		return sizeof(*attr);
	case FUSE_OPEN:
		memset(open_out, 0, sizeof(*open_out));
		open_out->fh = 1;
		return sizeof(*open_out);
	case FUSE_READ:
		return read_file(arg);
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		return 0;
	default:
		return -ENOSYS;
	}
}

static void serve(int fuse)
{
	static _Alignas(8) char request[1 << 17];

	for (;;) {
		ssize_t n = read(fuse, request, sizeof(request));
		const struct fuse_in_header *in = (void *)request;
		int r;

		if (n < 0 && (errno == EINTR || errno == ENOENT ||
			      errno == EAGAIN))
			continue;
		if (n < (ssize_t)sizeof(*in))
			_exit(0);	/* unmounted */
		if (in->opcode == FUSE_FORGET ||
		    (in->opcode == FUSE_WRITE && file_hangs))
			continue;
		r = one(in, in + 1);
		answer.head.unique = in->unique;
		answer.head.error = r < 0 ? r : 0;
		answer.head.len = (uint32_t)(sizeof(answer.head) +
					     (size_t)(r < 0 ? 0 : r));
		if (write(fuse, &answer, answer.head.len) < 0 &&
		    errno != ENOENT)
			_exit(1);
	}
}

int fuse_eio_open(size_t len, size_t bad, const unsigned char *bytes)
{
	static const char folder[] = "/tmp/.bezoar-fuse";
	char option[96];
	int fuse, fd;

	file_len = len;
	file_bad = bad;
	file_bytes = bytes;
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		tap_skip("no file that cannot be read: /dev/fuse: %s",
			 strerror(errno));
	/* seen by this case alone, and gone with it */
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		tap_skip("no file that cannot be read: as root one can be "
			 "mounted");
	mkdir(folder, 0755);
	snprintf(option, sizeof(option), "fd=%d,rootmode=40000,user_id=0,"
		 "group_id=0", fuse);
	CHECKF(!mount("bezoar", folder, "fuse", MS_NOSUID | MS_NODEV, option),
	       "mount: %s", strerror(errno));
	server = fork();
	CHECK(server >= 0);
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fuse);
	}
	close(fuse);
	fd = open("/tmp/.bezoar-fuse/file", O_RDWR | O_CLOEXEC);
	CHECKF(fd >= 0, "open: %s", strerror(errno));
	return fd;
}

int fuse_hang_open(void)
{
	file_hangs = 1;
	return fuse_eio_open(0, 0, NULL);
}

void fuse_gone(void)
{
	CHECK_EQ(kill(server, SIGKILL), 0);
	CHECK_EQ(waitpid(server, NULL, 0), server);
}
